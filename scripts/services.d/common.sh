# shellcheck shell=bash
# What the component scripts in this folder have in common: how a process is started, recognised and
# ended, how free ports are found, and a probe. Sourced, not run.
set -u
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# A process is known by two numbers: its id and the moment it was born (clock ticks since boot, as the
# kernel tells it). The id alone may belong to a stranger by now; the pair does not. Every process that
# we start has a file NAME.pid that holds the pair, and nothing else is ever signalled.

# birth PID: when it was born. Fails for no process, and for a dead one that nobody has reaped yet.
birth() {
  local stat field
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra field <<<"${stat##*) }" # after "pid (name) ": the state, ..., the birth as the twentieth
  [ "${field[0]:-Z}" != Z ] && [ "${field[0]}" != X ] && echo "${field[19]}"
}

alive() {
  local pid born
  [ -s "$1" ] && read -r pid born <"$1" && [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ]
}

pid_of() {
  local pid
  read -r pid _ <"$1" && echo "$pid"
}

# spawn PIDFILE LOG COMMAND..: in the background, in a session of its own (a Ctrl-C at our terminal is not
# for it), with no file of ours open. The child itself writes who it is, before it becomes COMMAND: so there
# is no moment at which it runs unrecorded, even when this shell is killed.
spawn() {
  local pidfile=$1 log=$2
  shift 2
  rm -f "$pidfile"
  (
    me=$BASHPID
    echo "$me $(birth "$me")" >"$pidfile"
    exec setsid "$@" >>"$log" 2>&1 </dev/null 9>&-
  ) &
  while [ ! -s "$pidfile" ]; do sleep 0.01; done
}

# end PIDFILE SECONDS: a polite signal, that many seconds of patience, then SIGKILL (0: at once).
end() {
  local pidfile=$1 patience=$2 pid i
  if alive "$pidfile"; then
    pid=$(pid_of "$pidfile")
    [ "$patience" = 0 ] || kill "$pid" 2>/dev/null
    for ((i = 0; i < patience * 20; i++)); do
      alive "$pidfile" || break
      sleep 0.05
    done
    alive "$pidfile" && kill -9 "$pid" 2>/dev/null
    for ((i = 0; i < 200; i++)); do
      alive "$pidfile" || break
      sleep 0.02
    done
  fi
  rm -f "$pidfile"
}

# free_ports N: that many different loopback ports on which nobody listens now. Taken from below the range
# out of which the kernel serves outgoing connections, which might otherwise snatch one before we bind it.
free_ports() {
  perl -MSocket -e '
    my ($low) = do { local @ARGV = "/proc/sys/net/ipv4/ip_local_port_range"; split " ", (<> // "32768") };
    my ($from, $to) = $low > 16384 ? (10240, $low - 1) : (40000, 60000);
    my (@held, %seen);
    for (my $try = 0; @held < $ARGV[0] && $try < 2000; $try++) {
      my $port = $from + int rand($to - $from);
      next if $seen{$port}++;
      socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
      bind($s, sockaddr_in($port, INADDR_LOOPBACK)) or next;
      push @held, $s;
      print "$port\n";
    }
    exit(@held < $ARGV[0]);' "$1"
}

# The port(s) of a service are kept in DIR/ports, one a line, so that it comes back on the same ones.
# ports_for DIR N [PORT]: the kept ones, else N free ones of which the first is PORT when given.
ports_for() {
  local file=$1/ports count=$2 first=${3:-}
  if [ -n "$first" ] && [ "$(head -n 1 "$file" 2>/dev/null)" != "$first" ]; then
    echo "$first" >"$file"
    [ "$count" = 1 ] || free_ports "$((count - 1))" >>"$file" || return 1
  elif [ ! -s "$file" ]; then
    free_ports "$count" >"$file" || return 1
  fi
  cat "$file"
}

# listening PORT: does anybody accept connections there?
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ask WHERE TEXT: sends TEXT (\0, \r and \n allowed) to a port or to a unix socket, prints the first line of
# the answer. Fails when there is none within three seconds.
ask() {
  perl -MSocket -e '
    $SIG{ALRM} = sub { exit 1 };
    alarm 3;
    my ($where, $text) = @ARGV;
    $text =~ s/\\([0rn])/{0 => "\0", r => "\r", n => "\n"}->{$1}/ge;
    my $tcp = $where =~ /^\d+$/;
    socket(my $s, $tcp ? PF_INET : PF_UNIX, SOCK_STREAM, 0) or exit 1;
    connect($s, $tcp ? sockaddr_in($where, INADDR_LOOPBACK) : sockaddr_un($where)) or exit 1;
    syswrite($s, $text) or exit 1;
    my $answer = "";
    until ($answer =~ /[\0\n]/) { sysread($s, $answer, 4096, length $answer) or last }
    $answer =~ s/[\0\r\n].*//s;
    exit 1 if $answer eq "";
    print "$answer\n";' "$1" "$2"
}

# need PROGRAM..: all there?
need() {
  local program
  for program; do
    command -v "$program" >/dev/null && continue
    say "there is no $program on this machine; run scripts/install-services"
    return 1
  done
}

# open_dir DIR: makes it, prints its absolute path.
open_dir() { mkdir -p "$1" && (cd "$1" && pwd); }
