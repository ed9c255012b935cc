#!/bin/sh
# A password for each part of compose.yaml and kubernetes/, in files that are made once: secrets.sh [FOLDER]
# The folder is its owner's alone; the files are readable in it because containers run as other users.
set -eu
folder=${1:-"$(dirname "$0")/secrets"}
mkdir -p "$folder"; chmod 0700 "$folder"
for name in postgres-superuser postgres-prefect postgres-mlflow redis-password prefect-password \
  mlflow-admin mlflow-worker mlflow-sessions s3-access-key s3-secret-key; do
  [ -s "$folder/$name" ] && continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$folder/$name"
  chmod 0444 "$folder/$name"
done
echo "passwords are in $folder; put those of an S3 service of your own into s3-access-key and s3-secret-key"
