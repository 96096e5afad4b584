#!/usr/bin/env bash
# Refresh what scripts print into docs/ (make docs). The batteries need Keras and scikit-learn; see benchmarks/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
"$python" scripts/document_settings.py > docs/reference/settings.md
"$python" scripts/document_exit_codes.py > docs/reference/exit-codes.md
"$python" benchmarks/keras_battery.py --write docs/formats/keras.md
"$python" benchmarks/sklearn_battery.py --write docs/formats/sklearn.md
