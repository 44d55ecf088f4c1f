#!/usr/bin/env bash
# A private S3 store: Ceph's object gateway with the smallest cluster behind it, one monitor and one object
# store that keeps everything in memory.
#
#   ceph.sh start DIR [PORT]          prints http://127.0.0.1:PORT. Without PORT: the one it had before, else a
#                                     free one. Starts what is down; a lost object store means an empty cluster
#   ceph.sh stop DIR                  all three; the objects are gone with them
#   ceph.sh crash DIR [rgw|osd|mon]   SIGKILL to one of them, the gateway (rgw) if none is named
#   ceph.sh status DIR                status 3 when one is down
#   ceph.sh admin DIR ARGS..          radosgw-admin on this cluster
#
# Users, each with its name as access key and NAME-secret as secret key: airlock (the one that makes and owns
# the buckets), worker, app, mallory. In a bucket policy they are arn:aws:iam:::user/NAME.
# shellcheck source=scripts/services.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
unset CEPH_ARGS CEPH_CONF PYTHONPATH PYTHONHOME # not for us: they would reach the programs below

case ${1:-} in
  start | stop | status | crash | admin) ;;
  *)
    say "usage: ceph.sh start DIR [PORT] | stop DIR | status DIR | crash DIR [rgw|osd|mon] | admin DIR ARGS.."
    exit 2
    ;;
esac
command=$1
dir=$(open_dir "${2:?DIR}") || exit 1
shift 2
conf=$dir/ceph.conf
cluster_id=5f1d1e9e-0000-4000-8000-000000000001
osd_id=5f1d1e9e-0000-4000-8000-0000000000aa
users=(airlock worker app mallory)

endpoint() { echo "http://127.0.0.1:${port[0]}"; }
running() { alive "$dir/$1.pid"; }
answers() { ask "${port[0]}" 'GET /swift/healthcheck HTTP/1.0\r\n\r\n' >/dev/null; }
up() { running mon && running osd && running rgw && answers; }
kill_all() { # nothing of it is worth a slow goodbye
  local name
  for name in rgw osd mon; do end "$dir/$name.pid" 0; done
}

# Ports: gateway, monitor, and a small range for the object store, which takes eight of it (whichever are free).
ports() { mapfile -t port < <(ports_for "$dir" 3 "${1:-}") && [ ${#port[@]} = 3 ]; }

configure() {
  local osd_low=${port[2]} osd_high=$((port[2] + 200))
  cat >"$conf" <<EOC
[global]
fsid = $cluster_id
mon host = [v2:127.0.0.1:${port[1]}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = $osd_low
ms bind port max = $osd_high
auth cluster required = none
auth service required = none
auth client required = none
# Left alone, the gateway asks the monitor for an encrypted connection, and without authentication there is
# none: it would try for ever.
ms mon client mode = crc
# One copy of everything, on the one object store there is.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
# Not on strike when the disk of the machine is nearly full.
mon data avail crit = 1
mon data avail warn = 1
# Each of the gateway's pools is a decision of the monitor; by default it sits two seconds over each.
paxos propose interval = 0.05
paxos min wait = 0.01
run dir = $dir
admin socket =
log file =
log to stderr = true
err to stderr = true

[mon]
mon data = $dir/mon
mon initial members = a

[osd]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class update on start = false

[client]
rgw data = $dir/rgw
# Without tcp_nodelay each GET on a kept connection costs 10 ms and more.
rgw frontends = beast endpoint=127.0.0.1:${port[0]} tcp_nodelay=1
rgw enable usage log = false
rgw crypt require ssl = false
rgw gc obj min wait = 5
rgw gc processor period = 10
debug rgw = 0
EOC
}

new_cluster() {
  rm -rf "$dir/mon" "$dir/osd"
  mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw"
  : >"$dir/mon.log"
  : >"$dir/osd.log"
  configure
  # The monitor gets its name from a map: made from the configuration alone it is called noname-a, and waits
  # for the one called a for ever.
  {
    monmaptool --create --clobber --fsid "$cluster_id" --addv a "[v2:127.0.0.1:${port[1]}]" "$dir/monmap" &&
      ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap"
  } >>"$dir/mon.log" 2>&1 || return 1
  spawn "$dir/mon.pid" "$dir/mon.log" ceph-mon -c "$conf" -i a -f
  timeout --foreground 30 ceph -c "$conf" osd new "$osd_id" >>"$dir/mon.log" 2>&1 || return 1
  ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd_id" >>"$dir/osd.log" 2>&1 || return 1
  spawn "$dir/osd.pid" "$dir/osd.log" ceph-osd -c "$conf" -i 0 -f
}

# --foreground: otherwise timeout moves itself into another process group, out of reach of whoever ends ours.
# As many buckets as they like: the tests make more than the thousand that a user may have otherwise.
make_user() {
  timeout --foreground 60 radosgw-admin -c "$conf" user info --uid "$1" >/dev/null 2>&1 ||
    timeout --foreground 60 radosgw-admin -c "$conf" user create --uid "$1" --display-name "$1" --max-buckets 0 \
      --access-key "$1" --secret "$1-secret" >/dev/null 2>>"$dir/rgw.log"
}

start() {
  local user i p makers=()
  if up; then
    endpoint
    return
  fi
  need ceph-mon ceph-osd radosgw radosgw-admin ceph monmaptool || return 1
  end "$dir/rgw.pid" 0
  if ! { running mon && running osd; }; then
    kill_all
    for p in "${port[@]:0:2}"; do
      if listening "$p"; then
        say "port $p is taken"
        return 1
      fi
    done
    if ! new_cluster; then
      say "monitor or object store did not come up"
      return 1
    fi
  fi
  : >"$dir/rgw.log"
  # The first of these makes the zone and its pools, and waits inside until the object store is there.
  make_user "${users[0]}" || return 1
  spawn "$dir/rgw.pid" "$dir/rgw.log" radosgw -c "$conf" -n client.rgw -f
  for user in "${users[@]:1}"; do
    make_user "$user" &
    makers+=($!)
  done
  for p in "${makers[@]}"; do
    if ! wait "$p"; then
      say "a user could not be made"
      return 1
    fi
  done
  for ((i = 0; i < 600; i++)); do # 60 s; it takes about a half
    if answers; then
      endpoint
      return
    fi
    running rgw || break
    sleep 0.1
  done
  say "the gateway did not come up"
  return 1
}

if [ "$command" = start ]; then
  ports "${1:-}" || exit 1
elif [ -s "$dir/ports" ]; then
  ports || exit 1
else
  case $command in
    stop | crash) exit 0 ;;
    status) echo "ceph      down" && exit 3 ;;
    *) say "there is no cluster in $dir" && exit 1 ;;
  esac
fi
case $command in
  start)
    trap 'kill_all; exit 143' TERM INT
    if ! start; then
      for log in mon osd rgw; do
        echo "== $log.log" >&2
        tail -n 8 "$dir/$log.log" >&2
      done
      kill_all
      exit 1
    fi
    ;;
  stop) kill_all ;;
  crash)
    case ${1:-rgw} in
      rgw | osd | mon) end "$dir/${1:-rgw}.pid" 0 ;;
      *) say "crash what? rgw, osd or mon" && exit 2 ;;
    esac
    ;;
  admin) exec radosgw-admin -c "$conf" "$@" ;;
  status)
    for name in mon osd rgw; do
      if ! running "$name"; then
        echo "ceph      down  ($name)"
        exit 3
      fi
    done
    if ! answers; then
      echo "ceph      down  (the gateway does not answer)"
      exit 3
    fi
    echo "ceph      up    pids $(pid_of "$dir/mon.pid") $(pid_of "$dir/osd.pid") $(pid_of "$dir/rgw.pid"), $(endpoint)"
    ;;
esac
