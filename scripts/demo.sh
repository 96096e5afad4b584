#!/usr/bin/env bash
# The whole way on real digits: train, deploy against a requirement, serve, ask, and say how to go on.
# Usage: scripts/demo.sh ENVIRONMENT FOLDER    (make demo)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/$1/bin folder=$2
export FAIRLEAD_HOME=$PWD/$folder/home
unset PYTHONDONTWRITEBYTECODE
started=$SECONDS
server=

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
show() { # print a command as it would be typed
  local word line=
  for word in "${@/#"$bin/"/}"; do
    case $word in *[!A-Za-z0-9_./:-]*) word="\"$word\"" ;; esac
    line="$line $word"
  done
  printf '%s$%s%s\n' "$dim" "$plain" "$line"
}
run() { show "$@"; "$@"; }
stop() { if [ -n "$server" ]; then kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; fi; }
trap stop EXIT

say "1. Train the way anybody does"
run "$bin/python" examples/digits/train.py "$folder"

say "2. Look at the file before anything in it is opened"
run "$bin/fairlead" inspect "$folder/model.h5"

say "3. Deploy it against a promise"
run "$bin/fairlead" deploy "$folder/model.h5" --name digits --data "$folder/digits.npz" \
  --require "accuracy>=0.93" --require "accuracy_drop<=0.005" --require "p99_ms<=10" --report "$folder/report.html"

say "4. Serve it, and ask"
port=$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
show "$bin/fairlead" serve digits --port "$port"
"$bin/fairlead" serve digits --port "$port" > "$folder/server.log" 2>&1 &
server=$!
"$bin/python" examples/digits/ask.py "http://127.0.0.1:$port" "$folder/digits.npz"

say "5. Where to look, and how to go on   ($((SECONDS - started)) s)"
cat <<END
  export PATH=$PWD/$1/bin:\$PATH FAIRLEAD_HOME=$FAIRLEAD_HOME
  $folder/report.html                          <- open this in a browser: what was proven, and how to measure it again
  fairlead show digits                         # the promise, the evidence, the history
  fairlead serve digits                        # then: curl -s localhost:8080/predict -d @$folder/one.json
  fairlead predict digits --input $folder/digits.npz
  fairlead explain digits --input $folder/one.json   # which patches of the picture decided
  fairlead drift digits                        # what the requests above look like, against the rows it was proven on
  fairlead plan $folder/model.h5 --data $folder/digits.npz --require "p99_ms<=5" --rate 200
  fairlead optimize $folder/model.h5 --data $folder/digits.npz --train $folder/train.npz --out small   # with fairlead[torch] it trains; without CUDA's GBs: docs/reference/extras.md
  fairlead deploy YOUR_MODEL.h5 --data YOUR_ROWS.npz --require "accuracy>=0.9"
END
