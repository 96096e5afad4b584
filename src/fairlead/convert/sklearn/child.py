"""The sandboxed side of the conversion: opens the estimator, tries the routes, proves each before it is believed.

Takes path, format and interface; leaves `model.onnx` and `probes.npz` in scratch; gives what the lineage has to say. A route is taken when
scikit-learn and ONNX Runtime give the same label on every probe row, and numbers within 1e-6. Raises UnsupportedError that names the
estimator, the routes and the rows that differ. Never trains, never reaches the network.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime

from fairlead.convert.sklearn.assembly import assemble
from fairlead.convert.sklearn.fallback import convert_with_skl2onnx
from fairlead.convert.sklearn.probes import probe_rows
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.engines.estimator_rows import LABEL, answers_of, parts, rows_of, select_by_position
from fairlead.engines.tensor_file import write_tensors
from fairlead.errors import UnsupportedError
from fairlead.security.estimator_file import load_estimator

MODEL_FILE, PROBES_FILE = "model.onnx", "probes.npz"
_CLOSE, _ALLOWED = 1e-9, 1e-6
_CHUNK_ROWS = 512
_ASK_LIMIT = 400
_PAIRS, _HALVINGS = 48, 23
_SEED = 20_260_922
_LIBRARIES = ("scikit-learn", "onnx", "onnxruntime", "numpy")
Route = Callable[[Any, Interface], tuple[onnx.ModelProto, tuple[str, ...]]]
_ROUTES: tuple[tuple[str, Route], ...] = (("fairlead", assemble), ("skl2onnx", convert_with_skl2onnx))


@dataclass(frozen=True)
class Difference:
    """Rows whose label differs, and the largest difference of numbers (absolute below 1, relative above)."""

    flip_count: int
    largest: float

    @property
    def is_exact(self) -> bool:
        """Whether the route may be taken."""
        return self.flip_count == 0 and self.largest <= _ALLOWED


def convert_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the estimator in `arguments["path"]`; see the module's first lines."""
    scratch = Path(arguments["scratch"])
    interface = msgspec.convert(arguments["interface"], Interface)
    estimator = load_estimator(Path(arguments["path"]), str(arguments["format"]))
    select_by_position(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # feature names and unknown categories are said at import
        probes, expected = with_boundary_rows(estimator, interface, *accepted_probes(estimator, interface))
        route, model, notes, difference = choose_route(estimator, interface, probes, expected)
    is_single = any(type(part).__module__ == "xgboost.sklearn" for part in parts(estimator))  # its sums and exponentials are
    (scratch / MODEL_FILE).write_bytes(model.SerializeToString())
    write_tensors(scratch / PROBES_FILE, probes)
    return {
        "route": route,
        "notes": list(notes),
        "probe_count": len(next(iter(probes.values()))),
        "difference": difference.largest,
        "tolerance": 1e-8 if difference.largest <= _CLOSE and not is_single else 1e-5,
        "versions": {name: importlib.metadata.version(name) for name in (*_LIBRARIES, *(["skl2onnx"] if route == "skl2onnx" else []))},
    }


def choose_route(
    estimator: Any, interface: Interface, probes: Tensors, expected: Tensors
) -> tuple[str, onnx.ModelProto, tuple[str, ...], Difference]:
    """Return name, model, notes and difference of the first route that is exact. Raises UnsupportedError with every route's reason."""
    failures: list[str] = []
    for name, route in _ROUTES:
        try:
            model, notes = route(estimator, interface)
        except UnsupportedError as error:
            reason = error.message.rstrip(".")
            failures.append(reason if name == "fairlead" else f"{name}: {reason}")
            continue
        difference = compare(model, interface, probes, expected)
        if difference.is_exact:
            return name, model, (*(f"{failure} (so the next route was taken)" for failure in failures), *notes), difference
        rows = len(next(iter(probes.values())))
        failures.append(f"the route '{name}' differs in {difference.flip_count} of {rows} decisions and by up to {difference.largest:.1e}")
    raise UnsupportedError(
        f"{type(estimator).__name__} cannot be converted exactly: {'; '.join(failures)}.",
        hint="Use another option or estimator, or export the model to ONNX yourself and deploy that file.",
    )


def compare(model: onnx.ModelProto, interface: Interface, probes: Tensors, expected: Tensors) -> Difference:
    """Run `model` on the probes and compare with scikit-learn's answers; a model that does not run differs everywhere."""
    rows = len(next(iter(probes.values())))
    names = [spec.name for spec in interface.outputs]
    try:
        answers = run_onnx(model, names, probes)
    except _RUNTIME_ERRORS:
        return Difference(rows, float("inf"))
    flips, largest = 0, 0.0
    for name, got in zip(names, answers, strict=True):
        want = expected[name]
        if got.shape != want.shape:
            return Difference(rows, float("inf"))
        if name == LABEL:
            flips = int((got != want).sum())
        else:
            largest = max(largest, _largest_difference(got, want))
    return Difference(flips, largest)


_RUNTIME_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


def run_onnx(model: onnx.ModelProto, names: list[str], inputs: Tensors) -> list[Array]:
    """Return the named outputs, computed by ONNX Runtime as a server does it, a few hundred rows at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = len(next(iter(inputs.values())))
    parts = [
        session.run(names, {name: tensor[start : start + _CHUNK_ROWS] for name, tensor in inputs.items()})
        for start in range(0, rows, _CHUNK_ROWS)
    ]
    return [np.concatenate(answers) for answers in zip(*parts, strict=True)]


def _largest_difference(got: Array, want: Array) -> float:
    if got.size == 0:
        return 0.0
    is_same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        difference = np.where(is_same, 0.0, np.abs(got - want) / np.maximum(np.abs(want), 1.0))
    return float(np.where(np.isnan(difference), np.inf, difference).max())


def accepted_probes(estimator: Any, interface: Interface) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the probe rows that scikit-learn accepts (some models refuse negative or missing numbers), and its answers to them."""
    probes = probe_rows(estimator, interface)
    answered = _answers(estimator, interface, probes)
    if answered is not None:
        return probes, answered
    absolute = {spec.name: probes[spec.name] if spec.dtype is DType.BYTES else np.abs(probes[spec.name]) for spec in interface.inputs}
    for candidate in (probes, absolute):
        kept = _accepted(estimator, interface, candidate)
        if len(kept):
            chosen = {name: tensor[kept] for name, tensor in candidate.items()}
            answered = _answers(estimator, interface, chosen)
            if answered is not None:
                return chosen, answered
    raise UnsupportedError(
        f"{type(estimator).__name__} refuses every row that Fairlead can make up to prove the conversion.",
        hint="Export the model to ONNX yourself and deploy that file.",
    )


def with_boundary_rows(
    estimator: Any, interface: Interface, probes: dict[str, Array], expected: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Add rows on both sides of the border between two decisions, about 1e-7 of their distance apart: single precision gets these wrong.

    Found by halving the way between rows with different labels. Only for tables of numbers; other models keep their rows.
    """
    if LABEL not in expected or [spec.dtype for spec in interface.inputs] != [DType.FP64]:
        return probes, expected
    name, labels = interface.inputs[0].name, expected[LABEL]
    usable = np.flatnonzero(np.isfinite(probes[name]).all(axis=1))
    generator = np.random.default_rng(_SEED)
    pairs = generator.choice(usable, size=(4 * _PAIRS, 2)) if len(usable) else np.empty((0, 2), dtype=np.int64)
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][:_PAIRS]
    near, far = probes[name][pairs[:, 0]], probes[name][pairs[:, 1]]
    only_label = Interface(interface.inputs, (interface.output(LABEL),))
    for _ in range(_HALVINGS if len(pairs) else 0):
        middle = near + (far - near) / 2
        answers = _answers(estimator, only_label, {name: middle})
        if answers is None:
            return probes, expected
        is_near = (answers[LABEL] == labels[pairs[:, 0]])[:, np.newaxis]
        near, far = np.where(is_near, middle, near), np.where(is_near, far, middle)
    together = {name: np.concatenate([probes[name], near, far])}
    answered = _answers(estimator, interface, together)
    return (probes, expected) if answered is None else (together, answered)


def _answers(estimator: Any, interface: Interface, tensors: Tensors) -> dict[str, Array] | None:
    try:
        return answers_of(estimator, interface, rows_of(interface, tensors, estimator))
    except (ValueError, TypeError, IndexError, KeyError):  # what scikit-learn raises for a row that it refuses
        return None


def _accepted(estimator: Any, interface: Interface, tensors: Tensors) -> list[int]:
    """Row numbers that are accepted, found by halving; gives up after some hundred questions."""
    waiting = [np.arange(len(next(iter(tensors.values()))))]
    kept: list[int] = []
    for _ in range(_ASK_LIMIT):
        if not waiting:
            break
        rows = waiting.pop()
        if _answers(estimator, interface, {name: tensor[rows] for name, tensor in tensors.items()}) is not None:
            kept.extend(int(row) for row in rows)
        elif len(rows) > 1:
            waiting.extend(np.array_split(rows, 2))
    return sorted(kept)
