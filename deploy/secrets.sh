#!/bin/sh
# Makes the passwords of deploy/compose.yaml, once: deploy/secrets/ (files that containers read) and deploy/.env
# (what images take from variables only). Neither is under version control. Delete both to start anew.
set -eu
cd "$(dirname "$0")"

if [ -e .env ] || [ -e secrets ]; then
  echo "deploy/secrets.sh: deploy/.env or deploy/secrets is there already; nothing was changed" >&2
  exit 0
fi
# Letters and digits only: some of these stand in URLs.
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
mkdir secrets
for name in worker_amqp_password worker_s3_secret; do
  random > "secrets/$name"
  # The container's user is not the owner, and Compose mounts the file as it is. The folder stays closed.
  chmod 644 "secrets/$name"
done
for name in RABBITMQ_ADMIN_PASSWORD STORE_AMQP_PASSWORD APP_AMQP_PASSWORD OPERATOR_AMQP_PASSWORD S3_ROOT_PASSWORD APP_S3_SECRET; do
  echo "$name=$(random)"
done > .env
echo "deploy/secrets.sh: deploy/.env and deploy/secrets are made. The application's keys are APP_AMQP_PASSWORD (user" \
  "airlock-app) and APP_S3_SECRET (access key app) in deploy/.env."
