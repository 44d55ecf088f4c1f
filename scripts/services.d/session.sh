# shellcheck shell=bash
# What scripts/test and scripts/bench have in common: phases with their times, and services in a throw-away folder
# that end and go in any case, after Ctrl-C too. Sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
  PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH
fi
if ! command -v cargo >/dev/null; then
  echo "${0##*/}: there is no cargo on this machine; install Rust first: https://rustup.rs" >&2
  exit 127
fi

dir=
group=
since=$SECONDS
success="Done" # how a good end is announced

phase() {
  printf '\n== %s\n' "$*"
  since=$SECONDS
}
phase_done() { printf '== %s s\n' "$((SECONDS - since))"; }

# run COMMAND..: in the background and in a process group of its own. So a signal reaches this shell at once,
# whatever runs, and the command with all its children can be ended together.
run() {
  local status=0
  set -m
  "$@" </dev/null &
  group=$!
  set +m
  wait "$group" || status=$?
  kill -KILL -- "-$group" 2>/dev/null || true # a child that the command forgot
  group=
  return "$status"
}

# start_services: sets "dir", and the variables of its env file.
start_services() {
  dir=$(mktemp -d /tmp/airlock-services.XXXX)
  chmod 755 "$dir"
  run scripts/services start "$dir"
  # shellcheck disable=SC1091
  . "$dir/env"
  # What is written meanwhile, and services that are started there, goes with the folder.
  mkdir -m 1777 "$dir/tmp"
  export TMPDIR=$dir/tmp
}

cleanup() {
  local status=$? i
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  if [ -n "$group" ]; then
    kill -TERM -- "-$group" 2>/dev/null
    for ((i = 0; i < 30; i++)); do
      kill -0 -- "-$group" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null
  fi
  if [ -n "$dir" ]; then
    if [ -e "$dir/.airlock-services" ]; then scripts/services stop "$dir"; fi
    rm -rf "$dir"
  fi
  if [ "$status" = 0 ]; then
    printf '== %s, %s s in all.\n' "$success" "$SECONDS"
  else
    printf '== FAILED with status %s, after %s s in all.\n' "$status" "$SECONDS" >&2
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
