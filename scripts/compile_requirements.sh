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
extras=(sklearn tensorflow xgboost lightgbm catboost openvino litert mlflow grpc otel observe postgres s3)
pin test pyproject.toml "${extras[@]/#/--extra=}" "$@"
pin unit pyproject.toml "$@"
pin demo pyproject.toml "$@"
pin demo-data --no-deps "$@"
# Left out: what only the servers in those packages would need.
pin clients --overrides requirements/clients-overrides.txt --no-emit-package grpcio-tools --no-emit-package pillow \
  --no-emit-package cryptography --no-emit-package cffi --no-emit-package pycparser --no-emit-package setuptools "$@"
pin uv "$@"
