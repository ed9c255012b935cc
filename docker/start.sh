#!/bin/sh
# What every container of ours starts with: secrets are files in /run/secrets, as Compose and Kubernetes mount
# them, and become the environment of this process alone.
set -eu
secrets=${SECRETS:-/run/secrets}
has() { [ -s "$secrets/$1" ] && [ -r "$secrets/$1" ]; }
need() { # a server never starts without its password
  for name in "$@"; do
    has "$name" || { echo "the secret $name is not in $secrets, or user $(id -u) may not read it" >&2; exit 3; }
  done; }
secret() { tr -d '\n' <"$secrets/$1"; }
with_password() { printf '%s:%s@%s' "${1%%@*}" "$(secret "$2")" "${1#*@}"; }  # user@host -> user:password@host

if [ -n "${TMPDIR:-}" ]; then mkdir -p "$TMPDIR"; fi

case "${1:-} ${2:-}" in
"prefect server")
  if [ "$3" = start ]; then need prefect-password; fi
  if [ -n "${DATABASE:-}" ]; then
    need postgres-prefect
    PREFECT_SERVER_DATABASE_CONNECTION_URL="$(with_password "$DATABASE" postgres-prefect)"
    export PREFECT_SERVER_DATABASE_CONNECTION_URL
  fi
  if [ -n "${REDIS:-}" ]; then
    need redis-password
    export PREFECT_REDIS_MESSAGING_URL="redis://:$(secret redis-password)@$REDIS/0"
    export PREFECT_SERVER_DOCKET_URL="redis://:$(secret redis-password)@$REDIS/1"
  fi ;;
"mlflow server")
  need postgres-mlflow mlflow-admin mlflow-sessions
  MLFLOW_BACKEND_STORE_URI="$(with_password "$DATABASE" postgres-mlflow)"
  MLFLOW_AUTH_ADMIN_PASSWORD="$(secret mlflow-admin)"
  MLFLOW_FLASK_SERVER_SECRET_KEY="$(secret mlflow-sessions)"
  MLFLOW_AUTH_CONFIG_PATH=/tmp/mlflow-auth.ini
  export MLFLOW_BACKEND_STORE_URI MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH
  (umask 077
   printf '[mlflow]\ndefault_permission = READ\nadmin_username = admin\nauth_cache_ttl_seconds = 60\ndatabase_uri = %s\n%s\n' \
     "$(with_password "$AUTH_DATABASE" postgres-mlflow)" \
     'authorization_function = mlflow.server.auth:authenticate_request_basic_auth' >"$MLFLOW_AUTH_CONFIG_PATH") ;;
"prefect worker") slipway doctor ;;  # a worker starts only where slipway's own examination passes
esac

if has prefect-password; then
  export PREFECT_API_AUTH_STRING="admin:$(secret prefect-password)"
  export PREFECT_SERVER_API_AUTH_STRING="$PREFECT_API_AUTH_STRING"
fi
if has mlflow-worker; then export MLFLOW_TRACKING_PASSWORD="$(secret mlflow-worker)"; fi
if has s3-access-key; then
  export AWS_ACCESS_KEY_ID="$(secret s3-access-key)" AWS_SECRET_ACCESS_KEY="$(secret s3-secret-key)"
fi
if has notify-url; then export SLIPWAY_NOTIFY_URL_FILE="$secrets/notify-url"; fi
exec "$@"
