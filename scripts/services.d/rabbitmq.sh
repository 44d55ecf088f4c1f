#!/usr/bin/env bash
# A private RabbitMQ node, with its management interface.
#
#   rabbitmq.sh start DIR [PORT]   prints amqp://guest:guest@127.0.0.1:PORT. Without PORT: the one it had before,
#                                  else a free one. Three more ports are used: management, cluster, epmd
#   rabbitmq.sh stop DIR           orderly, 6 s; what is durable survives in DIR and is there at the next start
#   rabbitmq.sh crash DIR          SIGKILL
#   rabbitmq.sh status DIR         status 3 when it is down
#   rabbitmq.sh management DIR     prints http://127.0.0.1:PORT of the management interface
#   rabbitmq.sh ctl DIR ARGS..     rabbitmqctl on this node
#
# When root starts it, it runs as the package's user rabbitmq: that user must be able to reach DIR.
# shellcheck source=scripts/services.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  start | stop | status | crash | management | ctl) ;;
  *)
    say "usage: rabbitmq.sh start DIR [PORT] | stop DIR | status DIR | crash DIR | management DIR | ctl DIR ARGS.."
    exit 2
    ;;
esac
command=$1
dir=$(open_dir "${2:?DIR}") || exit 1
shift 2
programs=/usr/lib/rabbitmq/bin
pidfile=$dir/node.pid
epmd_pidfile=$dir/epmd.pid

# Four ports, in this order.
ports() { mapfile -t port < <(ports_for "$dir" 4 "${1:-}") && [ ${#port[@]} = 4 ]; }
endpoint() { echo "amqp://guest:guest@127.0.0.1:${port[0]}"; }

# Fills "prefix": the words before a command that run it as the owner of the node, in DIR, and in an environment that
# holds what is listed here and nothing else, for RabbitMQ heeds dozens of variables.
prefix=()
prepare() {
  prefix=()
  if [ "$(id -u)" = 0 ]; then
    prefix=(setpriv --reuid rabbitmq --regid rabbitmq --init-groups)
  fi
  prefix+=(
    env -i -C "$dir" HOME="$dir" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="${port[3]}"
    RABBITMQ_NODENAME="airlock${port[0]}@localhost" RABBITMQ_DIST_PORT="${port[2]}" RABBITMQ_BASE="$dir"
    RABBITMQ_CONFIG_FILE="$dir/rabbitmq" RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced"
    RABBITMQ_CONF_ENV_FILE="$dir/environment" RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated"
    RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/own-pid-file"
    RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" RABBITMQ_FEATURE_FLAGS_FILE="$dir/feature_flags"
    # Its start script then becomes the node, in place of staying in front of it: one process, one pid.
    RABBITMQ_ALLOW_INPUT=1
    # Cluster traffic on loopback too; few schedulers, and none that spins while it waits.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
    RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
  )
}
ctl() { "${prefix[@]}" "$programs/rabbitmqctl" -n "airlock${port[0]}@localhost" "$@"; }
up() { alive "$pidfile" && listening "${port[0]}"; }

kill_all() {
  end "$pidfile" 0
  end "$epmd_pidfile" 0
}

start() {
  local p i seen
  if up; then
    endpoint
    return
  fi
  need "$programs/rabbitmq-server" epmd setpriv || return 1
  kill_all
  for p in "${port[@]}"; do
    if listening "$p"; then
      say "port $p is taken"
      return 1
    fi
  done
  mkdir -p "$dir/mnesia" "$dir/log" "$dir/generated"
  echo '[rabbitmq_management].' >"$dir/plugins"
  : >"$dir/environment"
  cat >"$dir/rabbitmq.conf" <<EOC
listeners.tcp.1 = 127.0.0.1:${port[0]}
management.tcp.ip = 127.0.0.1
management.tcp.port = ${port[1]}
disk_free_limit.absolute = 50MB
collect_statistics_interval = 1000
log.console = false
log.file = $dir/log/node.log
log.file.level = info
EOC
  touch "$dir/log/node.log" # each start appends to it
  seen=$(wc -l <"$dir/log/node.log")
  if [ "$(id -u)" = 0 ]; then
    chown -R rabbitmq:rabbitmq "$dir" || return 1
    if ! setpriv --reuid rabbitmq --regid rabbitmq --init-groups test -x "$dir"; then
      say "user rabbitmq cannot reach $dir: every folder above it needs the x permission for others"
      return 1
    fi
  fi
  # The name service of the node, in the foreground and under our eyes: left to itself the node would start one
  # that outlives it.
  spawn "$epmd_pidfile" "$dir/log/epmd.out" "${prefix[@]}" epmd -address 127.0.0.1 -port "${port[3]}"
  for ((i = 0; i < 100; i++)); do
    listening "${port[3]}" && break
    sleep 0.05
  done
  spawn "$pidfile" "$dir/log/node.out" "${prefix[@]}" "$programs/rabbitmq-server" -noinput
  for ((i = 0; i < 600; i++)); do # 60 s; it takes about 5
    if ! alive "$pidfile"; then
      break
    elif tail -n "+$((seen + 1))" "$dir/log/node.log" 2>/dev/null | grep -q 'Server startup complete'; then
      endpoint
      return
    fi
    sleep 0.1
  done
  say "RabbitMQ did not come up:"
  tail -n 20 "$dir/log/node.out" "$dir/log/node.log" >&2
  return 1
}

if [ "$command" = start ]; then
  ports "${1:-}" || exit 1
elif [ -s "$dir/ports" ]; then
  ports || exit 1
else
  case $command in
    stop | crash) exit 0 ;;
    status) echo "rabbitmq  down" && exit 3 ;;
    *) say "there is no node in $dir" && exit 1 ;;
  esac
fi
prepare
case $command in
  start)
    trap 'kill_all; exit 143' TERM INT
    if ! start; then
      kill_all
      exit 1
    fi
    ;;
  stop)
    end "$pidfile" 20
    end "$epmd_pidfile" 2
    ;;
  crash) kill_all ;;
  management) echo "http://127.0.0.1:${port[1]}" ;;
  ctl) ctl "$@" ;;
  status)
    if ! up; then
      echo "rabbitmq  down"
      exit 3
    fi
    echo "rabbitmq  up    pid $(pid_of "$pidfile"), $(endpoint), http://127.0.0.1:${port[1]}"
    ;;
esac
