#!/usr/bin/env bash
# Run the unit tests on the named versions of Python (every supported one beside the main one), as far as this machine has them.
# Usage: scripts/test_everywhere.sh [3.12 ...]
set -euo pipefail
cd "$(dirname "$0")/.."
main=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

interpreter() { # prints the interpreter of version $1 that really starts; a version manager's shim may not
  local candidate
  for candidate in "python$1" "/usr/bin/python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python; do
    if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
}

for version in ${*:-3.11 3.12 3.13}; do
  [ "$version" != "$main" ] || continue
  python=$(interpreter "$version")
  if [ -z "$python" ]; then echo "Python $version: not on this machine"; continue; fi
  scripts/environment.sh ".venv-unit-$version" unit "$python"
  echo "Python $version: unit and contract tests"
  # Another interpreter runs the same code on the same data otherwise, if at all: a few cases of each test show that.
  FAIRLEAD_EXAMPLES=10 FAIRLEAD_CASES=3 scripts/run_tests.sh ".venv-unit-$version/bin/python" -q tests/unit tests/contract -m "not slow" \
    -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
done
