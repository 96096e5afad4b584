"""POST .../explain: rows in any form, what is asked beside them, and limits that say what they are."""

from __future__ import annotations

import json
from dataclasses import replace

from fairlead.serve.explaining import Explaining, ExplainLimits
from fairlead.serve.http import explain
from fairlead.serve.http.api import Api
from fairlead.serve.steps import LONG_BYTES


class Echoing:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.budgets: list[float] = []

    def prepare(self):
        pass

    def close(self):
        pass

    def explain(self, version, engine, rows, wish, budget_s):
        self.budgets.append(budget_s)
        return {"explanations": [{"rows": rows["x"].tolist(), "wish": dict(wish), "label": version.label}]}


def explaining_world(world, concurrency: int = 1):
    explainer = Echoing()
    world.explaining = Explaining(world.table, explainer, ExplainLimits(concurrency, 5.0))
    world.api = Api(replace(world.api._job, explaining=world.explaining))
    return explainer


async def test_rows_in_any_form_are_explained(world) -> None:
    explaining_world(world)
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    for body in ({"input": [[1, 2]]}, {"inputs": {"x": [[1, 2]]}}, {"instances": [[1, 2]]}, {"inputs": [tensor]}):
        status, answer = await world.ask("POST", "/v2/models/m/explain", {**body, "of": "yes", "keep": ["a"]})
        assert status == 200
        assert answer["model"] == "m"
        assert answer["version"] == 3
        assert answer["explanations"] == [{"rows": [[1, 2]], "wish": {"of": "yes", "keep": ["a"]}, "label": "m:3"}]
    assert (await world.ask("POST", "/v2/models/m/versions/3/explain", {"input": [[1, 2]]}))[0] == 200
    assert (await world.ask("POST", "/v1/models/m:explain", {"instances": [[1, 2]]}))[0] == 200
    world.explaining.close()


async def test_a_large_body_is_read_in_turns_with_others(world) -> None:
    explaining_world(world)
    rows = ",".join(f"[1.0,{' ' * 10_000}2.0]" for _ in range(64))
    flat = ",".join(f"1.0,{' ' * 10_000}2.0" for _ in range(64))
    tensor = f'{{"name": "x", "shape": [64, 2], "datatype": "FP32", "data": [{flat}]}}'
    for inputs in (f'"input": [{rows}]', f'"inputs": {{"x": [{rows}]}}', f'"inputs": [{tensor}]'):
        text = f'{{"kind": "rule", {inputs}}}'
        assert len(text) > LONG_BYTES
        reply = await world.send("POST", "/v2/models/m/explain", text.encode())
        assert reply.status == 200
        found = json.loads(reply.body)["explanations"][0]
        assert found["rows"] == [[1, 2]] * 64
        assert found["wish"] == {"kind": "rule"}
    too_many = ",".join(f"[1.0,{' ' * 10_000}2.0]" for _ in range(65))
    assert (await world.send("POST", "/v2/models/m/explain", f'{{"input": [{too_many}]}}'.encode())).status == 413
    world.explaining.close()


async def test_a_version_that_is_unloaded_while_a_large_body_is_read_for_it_is_explained(world, monkeypatch) -> None:
    explaining_world(world)
    served, read_skeleton = world.table.resolve("m"), explain.read_skeleton

    def unloading(text):
        world.table.remove("m")
        return (yield from read_skeleton(text))

    monkeypatch.setattr(explain, "read_skeleton", unloading)
    text = '{"input": [[1.0, %s2.0]]}' % (" " * LONG_BYTES)
    assert (await world.send("POST", "/v2/models/m/explain", text.encode())).status == 200
    assert (world.table.models, served.in_flight) == ({}, 0)
    world.explaining.close()


async def test_a_client_can_only_shorten_the_time(world) -> None:
    explainer = explaining_world(world)
    for wanted in (0.5, 60):
        assert (await world.ask("POST", "/v2/models/m/explain", {"input": [[1, 2]], "budget_s": wanted}))[0] == 200
    assert explainer.budgets[0] <= 0.5 < explainer.budgets[1] <= 5.0
    world.explaining.close()


async def test_mistakes_are_the_clients(world) -> None:
    explaining_world(world)
    rows = {"input": [[1, 2]]}
    for body in ({}, {"input": [[1, 2, 3]]}, rows | {"budget_s": 0}, rows | {"budget_s": "long"}, rows | {"why": 1}):
        assert (await world.ask("POST", "/v2/models/m/explain", body))[0] == 400
    status, answer = await world.ask("POST", "/v2/models/m/explain", {"input": [[1, 2]] * 65})
    assert status == 413
    assert "64" in answer["error"]
    assert (await world.ask("POST", "/v2/models/n/explain", {"input": [[1, 2]]}))[0] == 404
    assert (await world.ask("GET", "/v2/models/m/explain"))[0] == 405
    world.explaining.close()


async def test_a_full_house_is_503_with_a_time_to_come_back(world) -> None:
    explaining_world(world)
    world.explaining._running = 1
    reply = await world.send("POST", "/v2/models/m/explain", b'{"input": [[1, 2]]}')
    assert reply.status == 503
    assert b"retry-after: 5" in reply.headers
    world.explaining.close()


async def test_a_server_that_does_not_explain_has_no_such_path(world) -> None:
    assert (await world.ask("POST", "/v2/models/m/explain", {"input": [[1, 2]]}))[0] == 404
