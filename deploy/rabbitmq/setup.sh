#!/bin/sh
# Imports definitions.json over RabbitMQ's management API and gives its users their passwords. Users without a
# password cannot log in. Needs curl; can be run again at any time.
#
#   RABBITMQ_API              such as http://rabbitmq:15672/api
#   RABBITMQ_ADMIN_PASSWORD   of the user "admin" (RABBITMQ_ADMIN_USER for another one)
#   WORKER_AMQP_PASSWORD      or the file /run/secrets/worker_amqp_password
#   STORE_AMQP_PASSWORD, APP_AMQP_PASSWORD, OPERATOR_AMQP_PASSWORD
#   RECONCILE_AMQP_PASSWORD   may be absent
set -eu
cd "$(dirname "$0")"
worker=${WORKER_AMQP_PASSWORD:-$(cat /run/secrets/worker_amqp_password)}

# The password goes in by standard input, not on the command line, where other processes could read it.
api() {
  method=$1 path=$2
  printf 'user = "%s:%s"\n' "${RABBITMQ_ADMIN_USER:-admin}" "$RABBITMQ_ADMIN_PASSWORD" |
    curl --config - --fail-with-body --silent --show-error --retry 10 --retry-connrefused \
      --request "$method" --header 'content-type: application/json' --data-binary @/dev/fd/3 "$RABBITMQ_API/$path" 3<&3
}
password() { printf '{"password": "%s", "tags": ""}' "$2" | { exec 3<&0 </dev/null; api PUT "users/$1"; }; }

{ exec 3< definitions.json; api POST definitions; }
password airlock-worker "$worker"
password airlock-store "$STORE_AMQP_PASSWORD"
password airlock-app "$APP_AMQP_PASSWORD"
password airlock-operator "$OPERATOR_AMQP_PASSWORD"
if [ -n "${RECONCILE_AMQP_PASSWORD:-}" ]; then password airlock-reconcile "$RECONCILE_AMQP_PASSWORD"; fi
echo "rabbitmq: definitions imported, passwords set"
