"""Every route gives a large body the answer that it would give it at once, to the byte; one large body is read after the other."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead.core.dtype import DType
from fairlead.serve.http import mlflow, predict, tensorflow, v2
from fairlead.serve.http.long_bodies import LongBodies

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
