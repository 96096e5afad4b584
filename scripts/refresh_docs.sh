#!/usr/bin/env bash
# Refresh what scripts print into docs/ (make docs). The Keras table shows both versions of Keras, so it is only written where both are.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
"$python" scripts/document_settings.py > docs/reference/settings.md
"$python" scripts/document_exit_codes.py > docs/reference/exit-codes.md
"$python" scripts/document_metrics.py > docs/reference/metrics.md
"$python" benchmarks/conformance.py --write docs/reference/conformance.md
if "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("tf_keras") is None)'; then
  "$python" benchmarks/keras_battery.py --write docs/formats/keras.md
else
  echo "docs/formats/keras.md stays as it is: tf_keras is not installed in .venv, so half of its rows could not be measured"
fi
"$python" benchmarks/sklearn_battery.py --write docs/formats/sklearn.md
for library in xgboost lightgbm catboost; do "$python" "benchmarks/${library}_battery.py" --write docs/formats/trees.md; done
"$python" benchmarks/torch_battery.py --write docs/formats/torch.md
"$python" benchmarks/tensorflow_battery.py --write docs/formats/tensorflow.md
"$python" benchmarks/conversion_matrix.py --write docs/conversion-matrix.md
# docs/reference/extras.md: benchmarks/extras.py --write, by hand; it installs several gigabytes, one extra after the other.
