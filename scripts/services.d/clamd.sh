#!/usr/bin/env bash
# A private ClamAV daemon with a tiny signature database of its own.
#
#   clamd.sh start DIR [PORT]   prints tcp://127.0.0.1:PORT; the unix socket is DIR/clamd.sock.
#                               Without PORT: the one it had before, else a free one
#   clamd.sh reload DIR         builds the signatures anew and waits until clamd uses them (status 1: refused)
#   clamd.sh stop|crash DIR     SIGTERM | SIGKILL; DIR stays
#   clamd.sh status DIR         status 3 when it is down
#   clamd.sh eicar|marker       prints the EICAR test file | a text that our own signature finds
#
# Environment, read at start (and SIG_... at reload):
#   SIG_DATE=now                date of the signatures, anything that `date -d` reads ('3 days ago'), or "none":
#                               VERSION then tells neither version nor date
#   SIG_VERSION=27500           their version
#   SIG_BROKEN=yes              all detections stand in one .yara file that does not compile (clamd says nothing of it)
#   CLAMD_TMPFS="nr_inodes=100" mounts a tmpfs with these options as its temporary folder, seen by this clamd alone
#   CLAMD_SET="Option=value .." replaces settings of clamd.conf; an empty value takes one out
#
# Detections carry these names, each followed by .UNOFFICIAL as all signatures not signed by ClamAV are:
#   Eicar-Test-Signature, Airlock.Test.Malware (the marker), Airlock.Test.Malware.Wide (it in UTF-16),
#   YARA.Airlock_Test_Yara, Airlock.Test.Daily
#
# Neither this file nor any other in the repository holds one of the texts that are searched for: each is put
# together from pieces when it is needed, so that no virus scanner ever objects to a checkout.
# shellcheck source=scripts/services.d/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export TZ=UTC # clamd tells the date of its signatures in local time without saying which zone

# shellcheck disable=SC2016 # the dollar signs are part of the text
eicar() { printf '%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}' '$EICAR-STANDARD-' 'ANTIVIRUS-TEST-' 'FILE!$H+H*'; }
pieces() { printf 'AIRLOCK-TEST-%s-%s' "$1" 7f3a; }
hex() { od -An -v -tx1 | tr -d ' \n'; }

case ${1:-} in
  eicar)
    eicar
    exit
    ;;
  marker)
    pieces MALWARE
    exit
    ;;
  start | stop | status | reload | crash) ;;
  *)
    say "usage: clamd.sh start DIR [PORT] | stop DIR | status DIR | reload DIR | crash DIR | eicar | marker"
    exit 2
    ;;
esac
command=$1
dir=$(open_dir "${2:?DIR}") || exit 1
conf=$dir/clamd.conf
socket=$dir/clamd.sock
pidfile=$dir/clamd.pid
log=$dir/clamd.log

endpoint() { echo "tcp://127.0.0.1:$(head -n 1 "$dir/ports")"; }
up() { alive "$pidfile" && [ "$(ask "$socket" 'zPING\0')" = PONG ]; }

# The database. Detection comes from plain files; daily.cud is there because clamd tells a version and a date
# only when it has loaded a file named "daily". It is an unsigned container: clamd takes it only under the
# ending .cud, and only if version, count, level and time agree between its 512-byte header and daily.info.
signatures() (
  epoch='' head=''
  if [ "${SIG_DATE:-now}" != none ]; then
    epoch=$(date -d "${SIG_DATE:-now}" +%s) || return 1
    head="ClamAV-VDB:$(date -d "@$epoch" '+%d %b %Y %H-%M %z'):${SIG_VERSION:-27500}:1:90"
  fi
  rm -rf "$dir/build"
  mkdir -p "$dir/db" "$dir/build" && cd "$dir/build" || return 1
  {
    echo "Eicar-Test-Signature:0:*:$(eicar | hex)"
    echo "Airlock.Test.Malware:0:*:$(pieces MALWARE | hex)"
  } >airlock.ndb
  echo "Airlock.Test.Malware.Wide;Engine:81-255,Target:0;0;$(pieces MALWARE | hex)::wi" >airlock.ldb
  echo "rule Airlock_Test_Yara { strings: \$a = \"$(pieces YARA)\" condition: \$a }" >airlock.yara
  if [ -n "${SIG_BROKEN:-}" ]; then
    rm -f airlock.ndb airlock.ldb "$dir"/db/airlock.*
    echo "rule Airlock_Test_Yara { strings: \$a = { $(eicar | hex) } condition: }" >airlock.yara
  fi
  if [ -n "$head" ]; then
    echo 'Test signatures, free for any use.' >COPYING
    echo "Airlock.Test.Daily:0:*:$(pieces DAILY | hex)" >daily.ndb
    {
      echo "$head:X:X:airlock:$epoch"
      echo "daily.ndb:$(stat -c %s daily.ndb):$(sha256sum daily.ndb | cut -d' ' -f1)"
    } >daily.info
    tar --format=ustar --owner=0 --group=0 -cf body.tar COPYING daily.info daily.ndb && gzip -9n body.tar || return 1
    printf '%-512s' "$head:$(md5sum body.tar.gz | cut -d' ' -f1):X:airlock:$epoch" | cat - body.tar.gz >daily.cud
  else
    rm -f "$dir/db/daily.cud"
  fi
  for file in airlock.* daily.cud; do
    [ ! -e "$file" ] || mv -f "$file" "$dir/db/" || return 1
  done
  rm -rf "$dir/build"
)

configure() {
  local port=$1 pair
  declare -A option=(
    [DatabaseDirectory]=$dir/db [TemporaryDirectory]=$dir/tmp [Foreground]=yes
    [LocalSocket]=$socket [LocalSocketMode]=660 [FixStaleSocket]=yes
    [TCPAddr]=127.0.0.1 [TCPSocket]=$port
    [LogFile]=$log [LogTime]=yes [LogFileMaxSize]=0
    # Limits: the stream above any policy of the worker (it refuses first), a member above the stream.
    [StreamMaxLength]=12M [MaxFileSize]=64M [MaxScanSize]=256M
    [MaxFiles]=10000 [MaxRecursion]=16 [MaxScanTime]=30000
    # Debian has both off, and clamd then says OK to what it could not look into.
    [AlertExceedsMax]=yes [AlertEncrypted]=yes
    [MaxThreads]=4 [MaxQueue]=64 [MaxConnectionQueueLength]=64
    [CommandReadTimeout]=30 [ReadTimeout]=60 [IdleTimeout]=60 [SendBufTimeout]=500
    [ConcurrentDatabaseReload]=yes [SelfCheck]=600 [ExitOnOOM]=yes
    # A picture of 48 KB with 400 million pixels takes longer than MaxScanTime to decode, and is a fault then.
    [ScanImageFuzzyHash]=no
    [PhishingSignatures]=no [ScanMail]=yes
  )
  for pair in ${CLAMD_SET:-}; do
    if [ -n "${pair#*=}" ]; then
      option[${pair%%=*}]=${pair#*=}
    else
      unset "option[${pair%%=*}]"
    fi
  done
  for pair in "${!option[@]}"; do echo "$pair ${option[$pair]}"; done | sort >"$conf"
}

start() {
  local port i
  if up; then
    endpoint
    return
  fi
  need clamd || return 1
  if [ ${#socket} -gt 107 ]; then
    say "the path of a unix socket may have 107 bytes, this one is longer: $socket"
    return 1
  fi
  end "$pidfile" 5
  port=$(ports_for "$dir" 1 "${1:-}") || return 1
  if listening "$port"; then
    say "port $port is taken"
    return 1
  fi
  rm -rf "$socket" "$dir/tmp" # a killed one leaves its temporary files
  mkdir -p "$dir/tmp"
  configure "$port"
  if ! signatures; then
    say "the signatures could not be built"
    return 1
  fi
  : >"$log"
  : >"$dir/clamd.out"
  local run=(clamd --config-file="$conf") user=()
  if [ -n "${CLAMD_TMPFS:-}" ]; then
    unshare --mount true 2>/dev/null || user=(--map-root-user)
    # shellcheck disable=SC2016 # the inner shell expands it
    run=(unshare --mount "${user[@]}" sh -c 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"' sh
      "$CLAMD_TMPFS" "$dir/tmp" "${run[@]}")
  fi
  spawn "$pidfile" "$dir/clamd.out" "${run[@]}"
  for ((i = 0; i < 600; i++)); do # 60 s; it takes about a tenth of one
    if up; then
      endpoint
      return
    fi
    alive "$pidfile" || break
    sleep 0.1
  done
  say "clamd did not come up:"
  tail -n 15 "$dir/clamd.out" "$log" >&2
  return 1
}

# clamd answers RELOADING whatever comes of it; what came of it is in the log. A database that it cannot load
# is refused, and the old one stays in use.
reload() {
  local seen i news
  if ! up; then
    say "not running"
    return 1
  fi
  seen=$(wc -l <"$log")
  signatures && ask "$socket" 'zRELOAD\0' >/dev/null || return 1
  for ((i = 0; i < 300; i++)); do
    news=$(tail -n "+$((seen + 1))" "$log")
    grep -qE 'Activating the newly loaded database|Database correctly reloaded' <<<"$news" && break
    if grep -qE 'keeping the previous instance' <<<"$news"; then
      grep -E 'ERROR|previous' <<<"$news" >&2
      return 1
    fi
    sleep 0.1
  done
  ask "$socket" 'zVERSION\0'
}

case $command in
  start)
    trap 'end "$pidfile" 0; exit 143' TERM INT
    if ! start "${3:-}"; then
      end "$pidfile" 0
      exit 1
    fi
    ;;
  stop)
    end "$pidfile" 10
    rm -f "$socket"
    ;;
  crash) end "$pidfile" 0 ;;
  reload) reload ;;
  status)
    if ! up; then
      echo "clamd     down"
      exit 3
    fi
    echo "clamd     up    pid $(pid_of "$pidfile"), $(endpoint), unix://$socket, $(ask "$socket" 'zVERSION\0')"
    ;;
esac
