"""Writes tests/data/keras: small models as Keras 3 and Keras 2 save them, with inputs and with the framework's own answers.

python benchmarks/keras_battery.py --folder FOLDER
python scripts/make_keras_fixtures.py FOLDER

The files are kept so that every later Fairlead reads what these versions wrote. The files of a version are never replaced; a new version
of a framework gets a folder of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "tests" / "data" / "keras"
ROWS = "7"
MODELS = (
    "activation_layers",
    "attention",
    "autoencoder",
    "bidirectional",
    "cnn",
    "convolutions_1d",
    "encoder_decoder",
    "gru",
    "merges",
    "mobile_cnn",
    "nested_models",
    "pooling",
    "preprocessing",
    "several_inputs_and_outputs",
    "text_classifier",
    "vision_transformer",
)


def main(arguments: list[str]) -> int:
    """Keep the fixtures of every framework in the battery's folder."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    for record in sorted(Path(arguments[0]).glob("*/problems.json")):
        said = json.loads(record.read_text())
        _keep(record.parent, TARGET / f"{said['framework']}-{said['version']}")
    return 0


def _keep(saved: Path, folder: Path) -> None:
    if folder.exists():
        print(f"{folder} exists: left as it is", file=sys.stderr)
        return
    folder.mkdir(parents=True)
    for model in MODELS:
        for extension in ("h5", "keras"):
            shutil.copyfile(saved / f"{model}.{extension}", folder / f"{model}.{extension}")
        with np.load(saved / f"{model}.npz", allow_pickle=False) as answers:
            kept = {key: answers[key] for key in answers.files if key.split("/")[1] == ROWS}
        np.savez_compressed(folder / f"{model}.npz", **kept)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
