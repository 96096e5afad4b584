#!/usr/bin/env bash
# Run tests. What fails among thousands is run once more, by itself: a machine that stood still for a second and a leak of another test both
# show in whichever test is running. What passes only then is named at the end, to be mended. Nothing is repeated where more than a few fail, or
# where a process that runs tests has crashed.
# Usage: scripts/run_tests.sh PYTHON ARGUMENT_OF_PYTEST...
set -uo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
few=5
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT

"$python" -m pytest -o cache_dir="$cache" --junit-xml="$cache/report.xml" "$@"
code=$?
[ $code = 1 ] || exit $code
! grep -q "crashed while running" "$cache/report.xml" || exit $code
failed=$("$python" -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$cache/v/cache/lastfailed") || exit $code
if [ "$(wc -l <<<"$failed")" -gt $few ]; then exit $code; fi

echo "Once more, alone:"
"$python" -m pytest -o cache_dir="$cache" "$@" -n 0 --last-failed --last-failed-no-failures none || exit 1
sed 's/^/FLAKY, failed above and passed alone: /' <<<"$failed"
