"""Explanations beside inference: few at a time, behind everybody, within their time, and gone with their client."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from fairlead.errors import DeadlineError, OverloadedError, RequestError
from fairlead.serve.explaining import PIECE_ROWS, Explaining, ExplainLimits
from fairlead.serve.model_table import ModelTable

ROWS = {"x": np.ones((1, 2), np.float32)}


class Asking:
    """Explains by asking the model for `rows` rows, again and again until `stop` says so."""

    def __init__(self, rows: int = 100) -> None:
        self.rows, self.stop = rows, threading.Event()
        self.stop.set()
        self.calls: list[float] = []
        self.error: Exception | None = None
        self.ended = threading.Event()
        self.prepared_count = self.closed_count = 0

    def prepare(self):
        self.prepared_count += 1

    def close(self):
        self.closed_count += 1

    def explain(self, version, engine, rows, wish, budget_s):
        try:
            while True:
                answer = engine.run({"x": np.repeat(rows["x"], self.rows, axis=0)})
                self.calls.append(budget_s)
                if self.stop.is_set():
                    return {"said": wish, "answered": answer["y"].tolist()[0], "rows": len(answer["y"])}
        except Exception as error:
            self.error = error
            raise
        finally:
            self.ended.set()


def table_with(fakes, engine) -> ModelTable:
    table = ModelTable()
    table.switch(fakes.served(fakes.version("m", 3), engine), "production")
    return table


async def until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen in time")


async def test_an_explanation_asks_the_version_in_small_pieces(fakes) -> None:
    engine = fakes.Engine(2.0)
    table, explainer = table_with(fakes, engine), Asking(rows=PIECE_ROWS * 2 + 1)
    explaining = Explaining(table, explainer, ExplainLimits())
    said = await explaining.explain(table.resolve("m"), ROWS, {"of": "yes"}, None)
    assert said == {"said": {"of": "yes"}, "answered": [2.0, 2.0], "rows": PIECE_ROWS * 2 + 1}
    assert engine.run_count == 3
    assert table.resolve("m").in_flight == 0
    explaining.close()


async def test_more_at_once_than_allowed_are_refused_at_once(fakes) -> None:
    table, explainer = table_with(fakes, fakes.Engine()), Asking()
    explainer.stop.clear()
    explaining = Explaining(table, explainer, ExplainLimits(concurrency=1, budget_s=30.0))
    first = asyncio.create_task(explaining.explain(table.resolve("m"), ROWS, {}, None))
    await until(lambda: explainer.calls)
    with pytest.raises(OverloadedError, match=r"allowed at once \(1\) are under way"):
        await explaining.explain(table.resolve("m"), ROWS, {}, None)
    explainer.stop.set()
    assert (await first)["rows"] == 100
    assert (await explaining.explain(table.resolve("m"), ROWS, {}, None))["rows"] == 100
    explaining.close()


async def test_its_time_ends_it(fakes) -> None:
    table, explainer = table_with(fakes, fakes.Engine()), Asking()
    explainer.stop.clear()
    explaining = Explaining(table, explainer, ExplainLimits(budget_s=0.2))
    with pytest.raises(DeadlineError):
        await explaining.explain(table.resolve("m"), ROWS, {}, None)
    with pytest.raises(DeadlineError):
        await explaining.explain(table.resolve("m"), ROWS, {}, 0.05)
    assert max(explainer.calls) <= 0.2
    assert min(explainer.calls) <= 0.05
    assert table.resolve("m").in_flight == 0
    explaining.close()


async def test_a_client_that_leaves_ends_it(fakes) -> None:
    table, explainer = table_with(fakes, fakes.Engine()), Asking()
    explainer.stop.clear()
    explaining = Explaining(table, explainer, ExplainLimits(budget_s=60.0))
    task = asyncio.create_task(explaining.explain(table.resolve("m"), ROWS, {}, None))
    await until(lambda: explainer.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(explainer.ended.is_set)
    assert isinstance(explainer.error, DeadlineError)
    explaining.close()


async def test_predictions_go_first(fakes) -> None:
    """The model is busy with one piece; a prediction that comes then is answered before the next piece begins."""
    gate = threading.Event()
    engine = fakes.Engine(1.0, gate=gate)
    table, explainer = ModelTable(), Asking(rows=PIECE_ROWS * 3)
    served = fakes.served(fakes.version("m", 3), engine, element_ms=50.0)
    served.executor.slot_count = 1
    table.switch(served, "production")
    explaining = Explaining(table, explainer, ExplainLimits(budget_s=60.0))
    explained = asyncio.create_task(explaining.explain(table.resolve("m"), ROWS, {}, None))
    await until(lambda: engine.run_count == 1)
    order: list[int] = []
    tickets = [served.scheduler.submit(ROWS, (), 1, on_ended=lambda _: order.append(engine.run_count)) for _ in range(3)]
    gate.set()
    for ticket in tickets:
        await ticket
    await explained
    assert order[0] <= 3
    assert engine.run_count == 6
    explaining.close()


async def test_what_the_explainer_refuses_comes_out(fakes) -> None:
    class Refusing(Asking):
        def explain(self, version, engine, rows, wish, budget_s):
            raise RequestError("no such class")

    table = table_with(fakes, fakes.Engine())
    explaining = Explaining(table, Refusing(), ExplainLimits())
    with pytest.raises(RequestError, match="no such class"):
        await explaining.explain(table.resolve("m"), ROWS, {}, None)
    explaining.close()
    explaining.close()


async def test_its_time_begins_when_the_explainer_is_ready_and_it_ends_with_the_server(fakes) -> None:
    class Slow(Asking):
        def prepare(self):
            super().prepare()
            time.sleep(0.3)

    table, explainer = table_with(fakes, fakes.Engine()), Slow()
    explaining = Explaining(table, explainer, ExplainLimits(budget_s=30.0))
    assert explainer.prepared_count == 0
    assert (await explaining.explain(table.resolve("m"), ROWS, {}, None))["rows"] == 100
    assert 29.8 < explainer.calls[0] <= 30
    explaining.close()
    assert (explainer.prepared_count, explainer.closed_count) == (1, 1)
