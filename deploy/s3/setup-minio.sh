#!/bin/sh
# Sets a MinIO up for Airlock: four buckets with versions, the worker's and the application's user with the policies
# beside this file, and the notification of uploads. Needs mc; can be run again at any time.
#
#   S3_ENDPOINT        such as http://s3:9000
#   S3_ROOT_PASSWORD   of the user "root"
#   WORKER_S3_SECRET   or the file /run/secrets/worker_s3_secret
#   APP_S3_SECRET
set -eu
cd "$(dirname "$0")"
worker=${WORKER_S3_SECRET:-$(cat /run/secrets/worker_s3_secret)}

until mc alias set store "$S3_ENDPOINT" root "$S3_ROOT_PASSWORD" >/dev/null 2>&1; do sleep 1; done

for bucket in quarantine clean rejected ledger; do
  mc mb --ignore-existing "store/$bucket"
  mc version enable "store/$bucket"
done
for policy in worker app; do
  mc admin policy create store "airlock-$policy" "$policy.json"
done
mc admin user add store airlock-worker "$worker"
mc admin user add store app "$APP_S3_SECRET"
# Attaching a policy twice is an error to mc, and no harm.
mc admin policy attach store airlock-worker --user airlock-worker || true
mc admin policy attach store airlock-app --user app || true
mc event add --ignore-existing store/quarantine arn:minio:sqs::AIRLOCK:amqp --event put
echo "s3: buckets, users, policies and the notification are there"
