#!/bin/sh
# What every container of ours starts with: secrets are files in /run/secrets, as Compose and Kubernetes mount
# them, and become the environment of this process alone.
set -eu
secrets=${SECRETS:-/run/secrets}
has() { [ -s "$secrets/$1" ]; }
secret() { tr -d '\n' <"$secrets/$1"; }
with_password() { printf '%s:%s@%s' "${1%%@*}" "$(secret "$2")" "${1#*@}"; }  # user@host -> user:password@host

if has prefect-password; then
  export PREFECT_API_AUTH_STRING="admin:$(secret prefect-password)"
  export PREFECT_SERVER_API_AUTH_STRING="$PREFECT_API_AUTH_STRING"
fi
if has mlflow-worker; then export MLFLOW_TRACKING_PASSWORD="$(secret mlflow-worker)"; fi
if has s3-access-key; then
  export AWS_ACCESS_KEY_ID="$(secret s3-access-key)" AWS_SECRET_ACCESS_KEY="$(secret s3-secret-key)"
fi
if has notify-url; then export SLIPWAY_NOTIFY_URL_FILE="$secrets/notify-url"; fi
if has redis-password; then
  export PREFECT_REDIS_MESSAGING_URL="redis://:$(secret redis-password)@$REDIS/0"
  export PREFECT_SERVER_DOCKET_URL="redis://:$(secret redis-password)@$REDIS/1"
fi

case "${1:-} ${2:-}" in
"prefect server")
  if has postgres-prefect; then
    export PREFECT_SERVER_DATABASE_CONNECTION_URL="$(with_password "$DATABASE" postgres-prefect)"
  fi ;;
"mlflow server")
  export MLFLOW_BACKEND_STORE_URI="$(with_password "$DATABASE" postgres-mlflow)"
  export MLFLOW_AUTH_ADMIN_PASSWORD="$(secret mlflow-admin)"
  export MLFLOW_FLASK_SERVER_SECRET_KEY="$(secret mlflow-sessions)"
  export MLFLOW_AUTH_CONFIG_PATH=/tmp/mlflow-auth.ini
  umask 077
  printf '[mlflow]\ndefault_permission = READ\nadmin_username = admin\ndatabase_uri = %s\n' \
    "$(with_password "$AUTH_DATABASE" postgres-mlflow)" >"$MLFLOW_AUTH_CONFIG_PATH"
  echo 'authorization_function = mlflow.server.auth:authenticate_request_basic_auth' >>"$MLFLOW_AUTH_CONFIG_PATH" ;;
"prefect worker") slipway doctor ;;  # a worker starts only where slipway's own examination passes
esac
exec "$@"
