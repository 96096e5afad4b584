#!/usr/bin/env bash
# Pin what is installed: requirements/*.in and pyproject.toml -> requirements/*.txt, with hashes and without any index's address.
# Usage: scripts/compile_requirements.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
pin() { # pin NAME [arguments of uv pip compile]
  local name=$1; shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
    "requirements/$name.in" "$@" --output-file "requirements/$name.txt"
}
extras=(sklearn tensorflow xgboost lightgbm catboost openvino litert mlflow)
pin test pyproject.toml "${extras[@]/#/--extra=}" "$@"
pin unit pyproject.toml "$@"
pin demo pyproject.toml "$@"
pin demo-data --no-deps "$@"
pin uv "$@"
