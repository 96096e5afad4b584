"""Lines 5 to 8: what a good inference request gives, and how a bad one is refused."""

from __future__ import annotations

from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.errors import FairleadError
from fairlead.probe.conformance.judging import answers, first, gives, refused, survives
from fairlead.probe.conformance.outcome import Check, Outcome, Problem, Remark, Skipped
from fairlead.probe.conformance.target import Target
from fairlead.probe.tensors import json_tensors, read_answer, valid_inputs

_LARGEST = {DType.FP32: 3.4028234663852886e38, DType.FP64: 1.7976931348623157e308}
_SAME = "the same request gives the same answer"


def _flat(target: Target) -> Outcome:
    return gives(target.infer(target.body()), target.outputs or {}, _SAME)


def _nested(target: Target) -> Outcome:
    body = {"inputs": json_tensors(target.inputs, is_nested=True)}
    return gives(target.infer(body), target.outputs or {}, "nested and flat data mean the same")


def _answer_fits(target: Target) -> Outcome:
    """Outputs are as the metadata says: names, datatypes, shapes; data fits shape."""
    exchange = target.infer(target.body())
    try:
        content, outputs = read_answer(exchange.body, exchange.headers)
    except FairleadError as error:
        return Problem(exchange.sent, f"{exchange.came} ({error.message})", "data has as many elements as shape says, of its datatype")
    said = {item["name"]: item["datatype"] for item in content["outputs"]}
    for spec in target.model.outputs:
        if spec.name not in outputs:
            return Problem(exchange.sent, exchange.came, f"without `outputs`, every output comes; '{spec.name}' does not")
        shape = outputs[spec.name].shape
        fits = len(shape) == len(spec.shape) and all(want in {None, got} for want, got in zip(spec.shape, shape, strict=True))
        if said[spec.name] != spec.dtype.value or not fits:
            return Problem(exchange.sent, exchange.came, f"the answer is what metadata promises: {spec.describe()}")
    return None


def _datatypes(target: Target) -> Outcome:
    """Every model's inputs take the extremes of their datatypes; the remark says which were there to be tried."""
    tried: set[str] = set()
    found: list[Outcome] = []
    for model in target.models:
        plain = dict(target.inputs) if model is target.model else valid_inputs(model.inputs, free_size=target.free_size)
        for spec in model.inputs:
            for value in _extremes(spec.dtype):
                tried.add(spec.dtype.value)
                tensors = json_tensors(plain)
                tensor = next(item for item in tensors if item["name"] == spec.name)
                tensor["data"] = [value] * max(int(plain[spec.name].size), 1)
                exchange = target.http.post(f"{model.path}/infer", {"inputs": tensors})
                found.append(survives(exchange, f"{value!r} is a value of {spec.dtype.value}: answered, or refused with the reason"))
    left = [dtype.value for dtype in DType if dtype.value not in tried and dtype is not DType.FP16]
    return first(*found, Remark(f"tried: {', '.join(sorted(tried))}; no model takes: {', '.join(left)}") if left else None)


def _extremes(dtype: DType) -> tuple[Any, ...]:
    if dtype.is_integer:
        return _limits(dtype)
    if dtype is DType.FP16:
        return ()
    if dtype.is_float:
        return (0, -1.5, _LARGEST[dtype])
    return (True, False) if dtype is DType.BOOL else ("grüße, 世界", "")


def _limits(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest number of an integer type, from the bits in its name."""
    bits = int(dtype.value.removeprefix("U").removeprefix("INT"))
    return (0, 2**bits - 1) if dtype.value.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _beyond(target: Target) -> Outcome:
    """A number outside of the datatype wraps around where nobody looks: a wrong answer that nobody sees."""
    found: list[Outcome] = []
    for spec, value in _outside(target.model.inputs):
        tensors = json_tensors(target.inputs)
        tensor = next(item for item in tensors if item["name"] == spec.name)
        tensor["data"] = [value, *tensor["data"][1:]]
        exchange = target.infer({"inputs": tensors})
        found.append(refused(exchange, f"{value!r} is no {spec.dtype.value} and is refused, not changed", is_required=False))
    return first(*found) if found else Skipped("the model takes no type that a number could be too large for")


def _outside(specs: tuple[TensorSpec, ...]) -> list[tuple[TensorSpec, Any]]:
    found: list[tuple[TensorSpec, Any]] = []
    for spec in specs:
        if spec.dtype.is_integer:
            found += [(spec, _limits(spec.dtype)[1] + 1), (spec, 0.5)]
        elif spec.dtype is DType.FP32:
            found.append((spec, 1e39))
        elif spec.dtype is DType.BOOL:
            found.append((spec, 2))
        if spec.dtype is not DType.BYTES:
            found.append((spec, "text"))
    return found


def _nan(target: Target) -> Outcome:
    spec = next((spec for spec in target.model.inputs if spec.dtype in {DType.FP32, DType.FP64}), None)
    if spec is None:
        return Skipped("the model takes no floats")
    said = []
    for word in ("null", "NaN"):
        tensors = json_tensors(target.inputs)
        tensor = next(item for item in tensors if item["name"] == spec.name)
        tensor["data"] = [None if word == "null" else float("nan"), *tensor["data"][1:]]
        exchange = target.infer({"inputs": tensors})
        problem = survives(exchange, f"{word} in float data is answered or refused")
        if problem is not None:
            return problem
        said.append(f"{word} is {'taken' if exchange.status == 200 else 'refused'}")
    return Remark(", ".join(said))


def _half(target: Target) -> Outcome:
    body = target.body()
    for datatype in ("FP16", "BF16"):
        tensors = [{**tensor, "datatype": datatype} for tensor in body["inputs"]]
        problem = refused(target.infer({"inputs": tensors}), f"{datatype} has no JSON form", is_required=False)
        if problem is not None:
            return problem
    return None


def _id(target: Target) -> Outcome:
    exchange = target.infer(target.body(id="request 42/ä"))
    content = exchange.content if isinstance(exchange.content, dict) else {}
    return None if content.get("id") == "request 42/ä" else Problem(exchange.sent, exchange.came, "an id comes back in the answer")


def _no_id(target: Target) -> Outcome:
    return first(
        answers(target.infer(target.body()), "an id may be left out"),
        answers(target.infer(target.body(id="")), "an id may be empty", is_required=False),
    )


def _names(target: Target) -> Outcome:
    exchange = target.infer(target.body())
    content = exchange.content if isinstance(exchange.content, dict) else {}
    if content.get("model_name") != target.model.name:
        return Problem(exchange.sent, exchange.came, f'model_name is "{target.model.name}"')
    for version in target.model.versions:
        exchange = target.infer(target.body(), version=version)
        content = exchange.content if isinstance(exchange.content, dict) else {}
        if exchange.status != 200 or str(content.get("model_version")) != version:
            return Problem(exchange.sent, exchange.came, f'the version that was asked answers: model_version "{version}"')
    return None


def _subset(target: Target) -> Outcome:
    found: list[Outcome] = []
    for name, array in (target.outputs or {}).items():
        exchange = target.infer(target.body(outputs=[{"name": name}]))
        found.append(gives(exchange, {name: array}, f"only the output that was asked for, '{name}'"))
    return first(*found)


def _unknown_output(target: Target) -> Outcome:
    return refused(target.infer(target.body(outputs=[{"name": "no-such-output"}])), "an unknown output is refused")


def _twice(target: Target) -> Outcome:
    tensors = target.body()["inputs"]
    exchange = target.infer({"inputs": [*tensors, tensors[0]]})
    return refused(exchange, "an input that is given twice is refused", is_required=False)


def _missing(target: Target) -> Outcome:
    tensors = target.body()["inputs"]
    says = "an input that is missing is refused"
    return first(
        refused(target.infer({"inputs": []}), says),
        refused(target.infer({}), says),
        refused(target.infer({"inputs": tensors[1:]}), says) if len(tensors) > 1 else None,
    )


def _unknown_input(target: Target) -> Outcome:
    tensors = target.body()["inputs"]
    renamed = [{**tensors[0], "name": "no-such-input"}, *tensors[1:]]
    return refused(target.infer({"inputs": renamed}), "an unknown input is refused")


def _with_first(target: Target, **changes: Any) -> dict[str, Any]:
    """Return the request with a change in its first input."""
    tensors = target.body()["inputs"]
    return {"inputs": [{**tensors[0], **changes}, *tensors[1:]]}


def _count(target: Target) -> Outcome:
    data = target.body()["inputs"][0]["data"]
    says = "data has as many elements as shape says"
    return first(
        refused(target.infer(_with_first(target, data=[*data, data[0]])), says),
        refused(target.infer(_with_first(target, data=data[:-1])), says),
    )


def _datatype(target: Target) -> Outcome:
    spec = target.model.inputs[0]
    other = "INT64" if spec.dtype.value != "INT64" else "FP32"
    return first(
        refused(target.infer(_with_first(target, datatype=other)), f"the model takes {spec.dtype.value}, not {other}", is_required=False),
        refused(target.infer(_with_first(target, datatype="FLOAT")), "FLOAT is no datatype of the protocol", is_required=False),
    )


def _dimensions(target: Target) -> Outcome:
    shape = target.body()["inputs"][0]["shape"]
    bad: tuple[Any, ...] = (
        [-1, *shape[1:]],
        [0, *shape[1:]],
        [-number for number in shape],
        [*shape, 1, 1],
        [1.5],
        ["1"],
        "1",
        None,
        [2**63],
    )
    found = [refused(target.infer(_with_first(target, shape=given)), f"{given!r} is no shape of this input") for given in bad]
    return first(*found)


def _too_many(target: Target) -> Outcome:
    config = target.http.get(f"{target.model.path}/config")
    limit = config.content.get("max_batch_size") if config.status == 200 and isinstance(config.content, dict) else None
    if not isinstance(limit, int) or not 0 < limit < 100_000 or not target.model.is_batchable:
        return Skipped("no limit on rows is known: the model's configuration names no max_batch_size")
    exchange = target.infer(target.body(target.arrays(rows=limit + 1)))
    if exchange.status == 200 and _rows(exchange.body, exchange.headers) == limit + 1:
        return Remark(f"max_batch_size is {limit}; a request with more rows is answered whole")
    return refused(exchange, f"{limit + 1} rows are more than max_batch_size", is_required=False)


def _rows(body: bytes, headers: Any) -> int:
    try:
        outputs = read_answer(body, headers)[1]
    except FairleadError:
        return 0
    arrays: list[Array] = list(outputs.values())
    return int(arrays[0].shape[0]) if arrays else 0


CHECKS = (
    Check(5, "flat data", _flat),
    Check(5, "nested data", _nested),
    Check(5, "the answer is as metadata says", _answer_fits),
    Check(5, "extremes of each datatype", _datatypes),
    Check(5, "values that are none", _beyond),
    Check(5, "missing and infinite floats", _nan),
    Check(5, "FP16 and BF16 as JSON", _half),
    Check(6, "id comes back", _id),
    Check(6, "no id", _no_id),
    Check(6, "model_name and model_version", _names),
    Check(7, "outputs by name", _subset),
    Check(7, "unknown output", _unknown_output),
    Check(7, "input given twice", _twice),
    Check(7, "input missing", _missing),
    Check(7, "unknown input", _unknown_input),
    Check(8, "shape and data disagree", _count),
    Check(8, "wrong datatype", _datatype),
    Check(8, "impossible shapes", _dimensions),
    Check(8, "more rows than the limit", _too_many),
)
