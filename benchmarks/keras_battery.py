"""Are Keras files read right? Builds a battery of models with Keras 3 and Keras 2, saves them, and compares Fairlead with their answers.

python benchmarks/keras_battery.py [--only NAME ...] [--write docs/formats/keras.md] [--folder FOLDER]

1. One process with Keras 3, and one with Keras 2 (tf_keras) where it is installed, build every model with drawn weights, save it as .h5 and
   .keras, and keep what it answers at batch 1, 2 and 7 and at two lengths where a dimension is free.
2. One process in which Keras, TensorFlow, PyTorch and JAX cannot be imported reads every file, converts it, and runs it twice: the ONNX in
   ONNX Runtime, and the layer graph in numpy.
3. The table says for each file: right (every difference at most 1e-5, absolute below 1 and relative above), refused by name, or WRONG.

Exits with 1 if anything is wrong, with 2 if no framework is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FRAMEWORKS = ("keras", "tf_keras")
BEGIN, END = "<!-- battery begin -->", "<!-- battery end -->"


def main() -> int:
    arguments = _parse()
    if arguments.save:
        from keras_models.battery import BATTERY
        from keras_models.saving import save_all

        save_all(arguments.save, [case for case in BATTERY.values() if _is_chosen(case.name, arguments.only)], arguments.folder)
        return 0
    if arguments.check:
        from keras_models.checking import check_all, forbid_frameworks

        forbid_frameworks()
        report = check_all(arguments.folder)
        print(report.json_lines() if arguments.json else report.markdown())
        if arguments.write:
            _write(arguments.write, report.markdown())
        return 1 if report.wrong_count else 0
    with tempfile.TemporaryDirectory(prefix="keras-battery-") as temporary:
        return _run_all(arguments, arguments.folder or Path(temporary))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these models")
    parser.add_argument("--write", type=Path, help="put the table into this document, between its battery marks")
    parser.add_argument("--folder", type=Path, help="keep the saved models here")
    parser.add_argument("--save", choices=FRAMEWORKS, help="only step 1, with this module")
    parser.add_argument("--check", action="store_true", help="only steps 2 and 3, on --folder")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _is_chosen(name: str, only: list[str]) -> bool:
    return not only or name in only


def _run_all(arguments: argparse.Namespace, folder: Path) -> int:
    installed = [framework for framework in FRAMEWORKS if importlib.util.find_spec(framework)]
    if not installed:
        print("Neither keras nor tf_keras is installed: nothing to compare with. pip install 'fairlead[keras-jax]'", file=sys.stderr)
        return 2
    for framework in installed:
        _save(framework, folder, arguments.only)
    written = ["--write", str(arguments.write)] if arguments.write else []
    command = [sys.executable, __file__, "--check", "--folder", str(folder), *written]
    return subprocess.run(command, check=False).returncode


def _save(framework: str, folder: Path, only: list[str]) -> None:
    more = ["--only", *only] if only else []
    command = [sys.executable, __file__, "--save", framework, "--folder", str(folder / framework), *more]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")}
    subprocess.run(command, check=True, env=os.environ | quiet, stdout=sys.stderr)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (format, "family: model", outcome, detail) of every file that a framework saved, for the conversion matrix."""
    for framework in FRAMEWORKS:
        if not importlib.util.find_spec(framework):
            yield (
                f"Keras {2 if framework == 'tf_keras' else 3}",
                "battery: the whole",
                "absent",
                f"{framework} is not installed, so nothing could be saved",
            )
            continue
        with tempfile.TemporaryDirectory(prefix="keras-battery-") as temporary:
            folder = Path(temporary)
            _save(framework, folder, [])
            command = [sys.executable, __file__, "--check", "--json", "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: it has something wrong to say
            raise RuntimeError(f"the check of {framework} ended with status {done.returncode}")
        yield from (tuple(json.loads(line)) for line in done.stdout.splitlines())


def _write(document: Path, table: str) -> None:
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
