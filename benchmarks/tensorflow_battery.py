"""Are SavedModels and .tflite files read right? Saves a battery of models, and compares Fairlead with TensorFlow's and LiteRT's answers.

python benchmarks/tensorflow_battery.py [--only TEXT] [--sandbox] [--write docs/formats/tensorflow.md] [--folder FOLDER]

1. Processes with Keras 3 and with TensorFlow alone build the models with drawn weights, save them as SavedModels and as .tflite (in single
   precision, with dynamic ranges, and in 8 bits), and keep what they answer at batch 1, 2 and 7, and at two lengths where one is free. The
   exports of Keras 2 are those in tests/data/tensorflow (scripts/make_tensorflow_fixtures.py made them), or new ones where tf_keras is.
2. Each goes through ingest and convert as a user's file does (--sandbox: in the sandbox; without it here, faster), and is run by ONNX
   Runtime, or by LiteRT where the file was kept.
3. Right: every difference is at most 1e-5, absolute below 1 and relative above, and no decision differs.

Exits with 1 if anything is wrong, or if a model is refused that should not be, or taken that should.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow_models.checking import Line

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "data" / "tensorflow"
FRAMEWORKS = ("keras", "functions", "lite")
FORMATS = {"keras": "Keras 3 export", "tf_keras": "Keras 2 export", "functions": "tf.function"}
LITE_FORMATS = {"float": ".tflite", "dynamic": ".tflite, dynamic range", "int8": ".tflite, 8 bits"}
BEGIN, END = "<!-- battery begin -->", "<!-- battery end -->"
HEADER = "| model | format | way | largest difference | outcome |\n|---|---|---|---|---|"


def main() -> int:
    arguments = _parse()
    if arguments.save:
        from tensorflow_models.saving import save

        save(arguments.save, arguments.folder, arguments.only)
        return 0
    print(HEADER)
    found = []
    for line in lines(only=arguments.only, in_sandbox=arguments.sandbox, folder=arguments.folder):
        found.append(line)
        print(line.markdown(), flush=True)
    summary = _summary(found)
    print(f"\n{summary}")
    if arguments.write:
        _write(arguments.write, "\n".join([summary, "", HEADER, *(line.markdown() for line in found)]))
    return 0 if found and all(map(is_expected, found)) else 1


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (format, "family: model", outcome, detail) for the conversion matrix."""
    for line in lines():
        title = "TensorFlow Lite" if line.format.startswith(".tflite") else "SavedModel"
        detail = line.detail or (f"largest difference {line.largest:.1e}" if line.largest is not None else "")
        yield f"{title} ({line.format})", f"networks: {line.model}", line.outcome, detail


def lines(*, only: str = "", in_sandbox: bool = False, folder: Path | None = None) -> Iterator[Line]:
    """Yield one line per model and format."""
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("ai_edge_litert") is None:
        from tensorflow_models.checking import Line as Absent

        yield Absent("the battery", "SavedModel and .tflite", "absent", detail="needs the extras 'tensorflow' and 'litert'")
        return
    with tempfile.TemporaryDirectory(prefix="tensorflow-battery-") as temporary:
        place = folder or Path(temporary)
        for framework in FRAMEWORKS:
            command = [sys.executable, __file__, "--save", framework, "--folder", str(place / framework), "--only", only]
            subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
        for archive in sorted(FIXTURES.glob("tf_keras-*/*.zip")):
            if only in archive.stem:
                unpack(archive, place / "tf_keras")
        yield from _check_all(place, in_sandbox=in_sandbox)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a SavedModel of the fixtures, with its answers, and return the SavedModel's folder."""
    with zipfile.ZipFile(archive) as members:
        members.extractall(folder)
    return folder / archive.stem


def _check_all(place: Path, *, in_sandbox: bool) -> Iterator[Line]:
    from fairlead.security.sandbox import OneShotSandbox
    from tensorflow_models.checking import HereSandbox, Line, check
    from tensorflow_models.functions import CASES

    sandbox = OneShotSandbox() if in_sandbox else HereSandbox()
    options = {case.name: case.options for case in CASES}
    for framework, title in FORMATS.items():
        for path in sorted((place / framework).glob("*/saved_model.pb")):
            name = path.parent.name
            chosen = options.get(name, {}) if framework == "functions" else {}
            yield check(name, title, path.parent, place / framework / f"{name}.npz", sandbox, chosen)
    for path in sorted((place / "lite").glob("*.tflite")):
        name, kind, _ = path.name.split(".")
        yield check(name, LITE_FORMATS[kind], path, path.with_suffix(".npz"), sandbox, {})
    for framework in FRAMEWORKS:
        for name, problem in json.loads((place / framework / "problems.json").read_text()).items():
            if framework != "lite":  # what TensorFlow Lite cannot hold is no file that a user could have
                yield Line(name, FORMATS[framework], "wrong", detail=f"could not be saved: {problem}")


def is_expected(line: Line) -> bool:
    """Whether a line says what has to come out."""
    from tensorflow_models.functions import CASES

    expected = {case.name: case.expected for case in CASES if line.format == FORMATS["functions"]}.get(line.model, "right")
    return line.outcome in expected


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this text")
    parser.add_argument("--sandbox", action="store_true", help="open every file in the sandbox")
    parser.add_argument("--write", type=Path, help="put the table into this document, between its battery marks")
    parser.add_argument("--folder", type=Path, help="keep the saved models here")
    parser.add_argument("--save", choices=(*FRAMEWORKS, "tf_keras"), help="only step 1, with this framework, into --folder")
    return parser.parse_args()


def _summary(found: list[Line]) -> str:
    from importlib.metadata import version

    from fairlead.engines.tensorflow_worker import describe_tensorflow

    counts = Counter(line.outcome for line in found)
    names = ("keras", "tf2onnx", "ai-edge-litert", "onnxruntime")
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("right", "refused", "absent", "wrong"))
    return f"{len(found)} files: {said}. {describe_tensorflow()}, {', '.join(f'{name} {version(name)}' for name in names)}."


def _write(path: Path, table: str) -> None:
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
