#!/bin/sh
# The accounts and databases of Prefect and MLflow; Postgres runs it when its data are new.
set -eu
account() { # name, databases...
  name=$1; shift
  printf "CREATE ROLE %s LOGIN PASSWORD :'password';\n" "$name" |
    psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v password="$(cat "/run/secrets/postgres-$name")"
  for database in "$@"; do createdb -U "$POSTGRES_USER" -O "$name" "$database"; done
}
account prefect prefect
account mlflow mlflow mlflow_auth
