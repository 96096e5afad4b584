"""Are ONNX files taken as they are meant? Builds a battery of models, takes them in, and compares with onnx's own reference evaluation.

python benchmarks/onnx_battery.py [--only TEXT]

1. Each model is built with onnx.helper and saved. It goes through ingest and convert as a user's file does, in the sandbox.
2. The canonical file runs in ONNX Runtime at batches of 1, 2 and 7, and at two lengths where one is free, with missing values where the
   model has a rule for them. The original runs in onnx.reference, which shares no code with ONNX Runtime.
3. Numbers may differ by 1e-5 (1e-3 in half precision), absolute below 1 and relative above; texts and decisions not at all.

Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from fairlead.convert.stage import convert
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import FairleadError, InputError
from fairlead.ingest.stage import ingest
from fairlead.security.sandbox import OneShotSandbox
from fairlead.verify.decisions import compare_decisions
from fairlead.verify.differences import differences
from onnx_models import networks, tables
from onnx_models.case import WORDS, Case

FAMILIES = networks.FAMILIES | tables.FAMILIES
BATCHES = (1, 2, 7)
FORMAT = ".onnx"
_TOLERANCE, _HALF_TOLERANCE = 1e-5, 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this text")
    only = parser.parse_args().only
    wrong = 0
    for _, name, outcome, detail in rows(only):
        print(f"{outcome:8} {name}: {detail}", flush=True)
        wrong += outcome == "wrong"
    return 1 if wrong else 0


def rows(only: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (format, "family: model", outcome, detail) of every model, for the conversion matrix."""
    sandbox = OneShotSandbox()
    for family, cases in FAMILIES.items():
        for case in cases:
            if only in case.name:
                with tempfile.TemporaryDirectory(prefix="onnx-battery-") as folder:
                    yield FORMAT, f"{family}: {case.name}", *check(case, Path(folder), sandbox)


def check(case: Case, folder: Path, sandbox: OneShotSandbox) -> tuple[str, str]:
    """Return the outcome and its detail."""
    path = folder / "in" / "model.onnx"
    path.parent.mkdir()
    case.save(case.build(), path)
    try:
        artifact = ingest(path, folder / "ingest", sandbox=sandbox)
        conversion = convert(artifact, folder / "convert", sandbox=sandbox)
    except InputError as error:
        return ("refused" if case.is_refused else "wrong"), error.message
    except FairleadError as error:
        return "wrong", f"{type(error).__name__}: {error.message}"
    if case.is_refused:
        return "wrong", "it was taken in"
    original = onnx.load(path)
    engine = OnnxRuntimeEngine(conversion.path, conversion.interface)
    largest = 0.0
    for length in case.lengths:
        for batch in BATCHES:
            inputs = {spec.name: draw(spec, batch, length, missing=case.missing) for spec in engine.interface.inputs}
            expected = _answer(original, inputs)
            got = engine.run(inputs)
            found = compare_decisions(engine.interface, expected, got, row_count=batch, tolerance=_HALF_TOLERANCE)
            if found.flip_count or found.jump_count:
                return "wrong", f"batch {batch}, length {length}: {found.sentence}"
            for name, tensor in expected.items():
                away = float(differences(tensor, got[name])[1].max(initial=0.0))
                if away > (_HALF_TOLERANCE if tensor.dtype == np.float16 else _TOLERANCE):
                    return "wrong", f"batch {batch}, length {length}: output '{name}' is off by {away:.1e}"
                largest = max(largest, away)
    return "right", f"{largest:.1e}"


def _answer(original: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    """What onnx.reference says; where the file has a fixed batch, that many rows at a time."""
    tables = {node.output[0]: node.input[0] for node in original.graph.node if node.op_type == "ZipMap"}  # dictionaries of these
    names = [value.name for value in original.graph.output]
    evaluator = ReferenceEvaluator(_without_dictionaries(original, tables))
    declared = original.graph.input[0].type.tensor_type.shape.dim[0]
    count = len(next(iter(inputs.values())))
    block = declared.dim_value if declared.HasField("dim_value") else count
    parts = []
    for start in range(0, count, block):
        piece = {name: np.resize(tensor[start : start + block], (block, *tensor.shape[1:])) for name, tensor in inputs.items()}
        parts.append([_plain(output) for output in evaluator.run([tables.get(name, name) for name in names], piece)])
    return {name: np.concatenate([part[place] for part in parts])[:count] for place, name in enumerate(names)}


def _without_dictionaries(original: Any, tables: dict[str, str]) -> Any:
    """onnx.reference has no ZipMap: the tables that it makes dictionaries of are outputs instead."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(original)
    for node in [node for node in stripped.graph.node if node.op_type == "ZipMap"]:
        stripped.graph.node.remove(node)
    for value in stripped.graph.output:
        if value.name in tables:
            value.CopyFrom(onnx.helper.make_tensor_value_info(tables[value.name], onnx.TensorProto.FLOAT, None))
    return stripped


def _plain(output: Any) -> Array:
    """Texts become objects."""
    return output.astype(object) if output.dtype.kind in "US" else np.asarray(output)


def draw(spec: TensorSpec, batch: int, length: int, *, missing: bool) -> Array:
    """Return drawn rows for an input."""
    generator = np.random.default_rng([batch, length, len(spec.name)])
    shape = [batch, *(length if size is None else size for size in spec.shape[1:])]
    if spec.dtype is DType.BYTES:
        return WORDS[generator.integers(0, len(WORDS), shape)]
    if not spec.dtype.is_float:
        return generator.integers(0, 20, shape).astype(spec.dtype.numpy)
    numbers = generator.normal(size=shape)
    if missing:
        numbers[generator.random(shape) < 0.3] = np.nan
    return numbers.astype(spec.dtype.numpy)


if __name__ == "__main__":
    sys.exit(main())
