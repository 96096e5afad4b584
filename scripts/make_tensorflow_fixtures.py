"""Writes tests/data/tensorflow: SavedModels as Keras 2 (tf_keras) exports them, and a few small models of TensorFlow and TensorFlow Lite.

python benchmarks/tensorflow_battery.py --save tf_keras --folder FOLDER/tf_keras     where tf_keras is installed
python benchmarks/tensorflow_battery.py --folder FOLDER                              where Fairlead's extras are
python scripts/make_tensorflow_fixtures.py FOLDER

Each archive holds one SavedModel with its answers. The files are kept so that every later Fairlead reads what these versions wrote. The
files of a version are never replaced; a new version of a framework gets a folder of its own.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from fairlead.security.saved_model_check import open_graph

TARGET = Path(__file__).parents[1] / "tests" / "data" / "tensorflow"
FROM_KERAS_3 = ("mlp", "several_inputs_and_outputs", "convolutions_1d")
FUNCTIONS = ("logistic", "same_shapes", "on_gpu", "two_signatures", "counter", "vocabulary_file", "reads_a_file", "gelu")
LITE = ("mlp.float", "mlp.int8", "dense.dynamic", "several_inputs_and_outputs.float")
EPOCH = (2026, 1, 1, 0, 0, 0)  # archives come out the same each time


def main(arguments: list[str]) -> int:
    """Keep the fixtures of every framework in the battery's folder."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    source = Path(arguments[0])
    _keep(source / "tf_keras", "tf_keras", sorted(path.parent.name for path in (source / "tf_keras").glob("*/saved_model.pb")))
    _keep(source / "keras", "keras", FROM_KERAS_3)
    _keep(source / "functions", "functions", FUNCTIONS)
    target = TARGET / "litert"
    if not target.exists():
        target.mkdir(parents=True)
        for name in LITE:
            for suffix in (".tflite", ".npz"):
                shutil.copyfile(source / "lite" / f"{name}{suffix}", target / f"{name}{suffix}")
    return 0


def _keep(saved: Path, title: str, names: list[str] | tuple[str, ...]) -> None:
    if not names:
        return
    folder = TARGET / f"{title}-tensorflow-{open_graph(saved / names[0]).version}"
    if folder.exists():
        print(f"{folder} exists: left as it is", file=sys.stderr)
        return
    folder.mkdir(parents=True)
    for name in names:
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            paths = [path for path in sorted((saved / name).rglob("*")) if path.is_file()]
            for path in (*paths, saved / f"{name}.npz"):
                archive.writestr(zipfile.ZipInfo(path.relative_to(saved).as_posix(), EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
