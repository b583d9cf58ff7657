# Sourced by the scripts of this folder.
cache_dir=${NARU_CACHE:-${HOME:-/tmp}/.cache/naru}

fail() { echo "$0: $*" >&2; exit 1; }

accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# take_free_port FD: sets free_port and holds it by a lock on file descriptor FD, which the server inherits.
# Ports lie below the range from which the kernel gives ports to outgoing connections: a client that reconnects to a
# killed server can then neither take its port nor be connected to itself.
take_free_port() {
  local dir=${TMPDIR:-/tmp}/naru-ports i
  mkdir -p "$dir"
  for ((i = 0; i < 200; i++)); do
    free_port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    eval "exec $1>\"$dir/$free_port\""
    if flock -n "$1" && ! accepts "$free_port"; then return 0; fi
  done
  fail 'found no free port between 20000 and 32000'
}

# run_server WORKDIR LOG COMMAND...: starts it in the background and leaves its pid in WORKDIR/pid.
run_server() {
  local workdir=$1 log=$2
  shift 2
  # A session of its own: who starts servers through a script may end the script's whole process group afterwards.
  setsid nohup "$@" >>"$log" 2>&1 </dev/null &
  server_pid=$!
  echo "$server_pid" >"$workdir/pid"
  if [ -n "${NARU_SERVER_OWNER:-}" ]; then
    # Polling, because a process that is killed tells nobody. The port locks are not for this one to hold.
    setsid bash -c 'while kill -0 "$1" 2>/dev/null; do kill -0 "$2" 2>/dev/null || kill -9 "$1"; sleep 1; done' \
      watch "$server_pid" "$NARU_SERVER_OWNER" >/dev/null 2>&1 </dev/null 7>&- 8>&- 9>&- &
  fi
}

# wait_for_port PORT LOG: until the server of run_server accepts connections; at most 60 s.
wait_for_port() {
  local i
  for ((i = 0; i < 1200; i++)); do
    if accepts "$1"; then return 0; fi
    kill -0 "$server_pid" 2>/dev/null || { tail -n 20 "$2" >&2; fail 'the server ended while starting'; }
    sleep 0.05
  done
  kill -9 "$server_pid"
  tail -n 20 "$2" >&2
  fail "nothing accepted on port $1 within 60 s"
}
