"""Every route gives a large body the answer that it would give it at once, to the byte; one large body is read after the other."""

from __future__ import annotations

import asyncio
import json
import struct

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import NotFoundError
from fairlead.serve.data_plane import InferRequest
from fairlead.serve.http import long_lists, mlflow, predict, tensorflow, v2
from fairlead.serve.http.message import HttpRequest, Memo
from fairlead.serve.long_bodies import LongBodies

ROUTES = (mlflow, predict, tensorflow, v2)
COUNT = 12_000  # rows: more than a piece of text, and more than a piece of an answer
ROWS = [[index / 8, -index] for index in range(COUNT)]
RAGGED = [*ROWS[:-1], [1.0]]
RECORDS = [{"fp32": row} for row in ROWS]
NAN = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}).replace("-11999", "NaN").encode()
FRAMES = [
    {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}},
    {"dataframe_split": {"columns": ["a", "b"], "data": [*ROWS, {"a": 1}]}},
    {"dataframe_records": [{"0": a, "1": b} for a, b in ROWS]},
    {"dataframe_records": RECORDS},
    {"dataframe_records": ROWS},
    {"instances": ROWS},
    {"inputs": {"fp32": ROWS}},
    {"inputs": ROWS, "params": {"a": 1}},
    {"inputs": ROWS, "instances": ROWS},
    NAN,
    NAN.replace(b"NaN", b"Infinity"),
    NAN[:-5],
]
NAMED = {"inputs": {"fp32": ROWS}}
PEOPLE = [{"input": ROWS}, {"instances": RECORDS}, NAMED, {"inputs": ROWS}, {"input": RAGGED}]
PEOPLE += [{"input": ROWS, "inputs": ROWS}, {"rows": ROWS}, ROWS, {"inputs": {"z": ROWS}}, NAN]
TENSORFLOW = [{"instances": ROWS}, NAMED, {"inputs": ROWS}, {"instances": RECORDS}]
TENSORFLOW += [{"instances": ROWS, "signature_name": "x"}, {"instances": {"a": ROWS}}, {}]
BODIES = [
    *(("/predict", body) for body in PEOPLE),
    *(("/v1/models/m:predict", body) for body in TENSORFLOW),
    *(("/invocations", body) for body in FRAMES),
    ("/v2/models/m/infer", {"inputs": [{"name": "fp32", "shape": [COUNT, 2], "datatype": "FP32", "data": ROWS}], "id": "7"}),
    ("/v2/models/m/infer", {"inputs": [{"name": "fp32", "shape": [COUNT, 2], "datatype": "FP32", "data": RAGGED}]}),
    ("/v2/models/m/infer", {"inputs": [{"name": ["fp32"] * COUNT, "shape": [COUNT, 2], "datatype": "FP32", "data": ROWS}]}),
]


@pytest.mark.parametrize(("target", "body"), BODIES, ids=[f"{target} {place}" for place, (target, _) in enumerate(BODIES)])
async def test_a_large_body_gets_the_answer_that_it_would_get_at_once(world, monkeypatch, target, body) -> None:
    world.table.remove("m")
    world.load("m", 1, world.Echo([DType.FP32]))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    replies = []
    for long_bytes in (2**40, 0):
        for route in ROUTES:
            monkeypatch.setattr(route, "LONG_BYTES", long_bytes)
        replies.append(await world.send("POST", target, raw))
    at_once, in_pieces = replies
    assert in_pieces.status == at_once.status
    assert at_once.status == 400 or in_pieces.body == at_once.body
    assert world.said == []


async def test_texts_are_read_in_pieces(world, monkeypatch) -> None:
    world.table.remove("m")
    world.load("m", 1, world.Echo([DType.BYTES]))
    texts = [[f'],[ "{index}', "é,"] for index in range(COUNT)]
    monkeypatch.setattr(predict, "LONG_BYTES", 0)
    status, answer = await world.ask("POST", "/predict", {"input": texts})
    assert (status, answer["prediction"]) == (200, texts)


async def test_json_in_front_of_raw_tensors_is_read_in_pieces(world) -> None:
    world.table.remove("m")
    world.load("m", 1, world.Echo([DType.FP32, DType.INT8]))
    count = 100_000
    tensors = [
        {"name": "fp32", "shape": [count, 2], "datatype": "FP32", "data": [0.5] * 2 * count},
        {"name": "int8", "shape": [count, 2], "datatype": "INT8", "parameters": {"binary_data_size": 2 * count}},
    ]
    status, answer, _ = await world.ask_raw("/v2/models/m/infer", {"inputs": tensors}, b"\1" * 2 * count)
    assert status == 200
    assert [set(output["data"]) for output in answer["outputs"]] == [{0.5}, {1}]


@pytest.mark.parametrize("is_column", [False, True])
async def test_raw_texts_and_raw_columns_are_read_in_pieces_and_give_the_same(world, monkeypatch, is_column) -> None:
    world.table.remove("m")
    texts = b"".join(struct.pack("<I", len(item)) + item for item in (b"%d" % index for index in range(COUNT)))
    if is_column:
        world.load("m", 1, Table())
        kinds = {"a": "INT64", "b": "FP64"}
        parts = [np.arange(COUNT, dtype=DType(kind).numpy).tobytes() for kind in kinds.values()]
        shape = [COUNT]
    else:
        world.load("m", 1, world.Echo([DType.BYTES]))
        kinds, parts, shape = {"bytes": "BYTES"}, [texts], [COUNT // 2, 2]
    inputs = [
        {"name": name, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(part)}}
        for (name, kind), part in zip(kinds.items(), parts, strict=True)
    ]
    broken = [*inputs[:-1], inputs[-1] | {"shape": [1]}]
    answers = []
    for long_bytes in (2**40, 1000):
        monkeypatch.setattr(long_lists, "LONG_BYTES", long_bytes)
        answers.append([await world.ask_raw("/v2/models/m/infer", {"inputs": given}, *parts) for given in (inputs, broken)])
    at_once, in_pieces = answers
    assert in_pieces == at_once
    assert [status for status, _, _ in at_once] == [200, 400]
    data = at_once[0][1]["outputs"][0]["data"]
    assert (len(data), data[-1]) == ((2 * COUNT, COUNT - 1) if is_column else (COUNT, str(COUNT - 1)))


class Table:
    """Gives its table of two columns back."""

    description = "table 1"
    interface = Interface((TensorSpec("x", DType.FP32, (None, 2), ("a", "b")),), (TensorSpec("y", DType.FP32, (None, 2)),))

    def run(self, inputs, _outputs=()):
        return {"y": inputs["x"]}

    def close(self) -> None:
        pass


async def test_a_model_that_is_unloaded_while_a_large_body_is_read_for_it_is_not_found(world) -> None:
    served = world.table.resolve("m")

    def steps():
        yield
        world.table.remove("m")
        yield
        inputs = {spec.name: np.zeros((1, 2), spec.dtype.numpy) for spec in served.interface.inputs}
        return InferRequest("m", inputs)

    with pytest.raises(NotFoundError, match="no model 'm'"):
        await LongBodies(world.plane).infer(served, steps())
    assert served.in_flight == 0


class Unwritable(Table):
    """Gives what JSON has no word for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, _inputs, _outputs=()):
        return {"y": np.full((1, self.count), 1j)}


@pytest.mark.parametrize("count", [2, 20_000])
async def test_an_answer_that_cannot_be_written_is_a_500_whatever_its_length_and_way(world, count) -> None:
    world.table.remove("m")
    world.load("m", 1, Unwritable(count))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
    request = HttpRequest(b"POST", b"/v2/models/m/infer", {}, body, request_id="rid", memo=Memo())
    done = asyncio.get_running_loop().create_future()
    world.api.direct.begin(request, lambda _, reply: done.set_result(reply))
    for reply in (await asyncio.wait_for(done, 60), await world.api.handle(request)):
        assert (reply.status, b"failed to answer" in reply.body) == (500, True)
    assert len(world.said) == 2


async def test_large_bodies_are_read_one_after_the_other(world) -> None:
    turns: list[str] = []
    bodies = LongBodies(world.plane)
    served = world.table.resolve("m")

    def steps(name: str):
        for _ in range(3):
            turns.append(name)
            yield
        raise KeyError(name)

    async def one(name: str) -> None:
        with pytest.raises(KeyError):
            await bodies.infer(served, steps(name))

    await asyncio.gather(*map(one, "abc"))
    assert "".join(turns) == "aaabbbccc"
