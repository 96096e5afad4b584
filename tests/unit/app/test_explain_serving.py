"""Explanations for a server: made in a process of its own that asks the server's engine, gives way, and is lost without loss."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from fairlead.app.explain_child import NICENESS
from fairlead.app.explain_model import open_explainer
from fairlead.app.explain_serving import ExplainProcess, ServedExplainer
from fairlead.app.explain_wire import Wire, open_wire
from fairlead.core.interface import Array, Tensors
from fairlead.core.version import parse_reference
from fairlead.errors import DeadlineError, OverloadedError, RequestError, UnavailableError
from fairlead.register.resolve import resolve

ROW = {"x": np.array([[1.0, -2.0, 0.5, 3.0]], np.float32)}


@pytest.fixture
def explainer(stocked) -> Iterator[ServedExplainer]:
    served = ServedExplainer(stocked)
    yield served
    started = tuple(served._all)
    served.close()
    assert all(process.process.returncode is not None for process in started)


class Refusing:
    """An engine that is too busy."""

    description = "busy"

    def __init__(self, interface) -> None:
        self.interface = interface

    def run(self, inputs: Tensors, outputs: object = ()) -> dict[str, Array]:
        raise OverloadedError("full", retry_after_s=7)

    def close(self) -> None:
        pass


def test_answers_come_from_another_process_that_gives_way(stocked, explainer: ServedExplainer) -> None:
    with open_explainer("pets", stocked) as opened:
        version = resolve(parse_reference("pets"), records=stocked.records)
        said = explainer.explain(version, opened.engine, ROW, {"of": "owl"}, 30.0)
        again = explainer.explain(version, opened.engine, ROW, {"kind": "counterfactual"}, 30.0)
        rule = explainer.explain(version, opened.engine, ROW, {"kind": "rule"}, 30.0)
        for wish in ({"kind": "all"}, {"keep": "c0"}, {"colour": 1}, {"method": "magic"}, {"of": "bird"}):
            with pytest.raises(RequestError):
                explainer.explain(version, opened.engine, ROW, wish, 30.0)
    assert said["explanations"][0]["subject"]["says"] == "the score of class 'owl'"
    assert set(again) == {"counterfactuals"}
    assert set(rule) == {"rules"}
    json.dumps([said, again, rule], allow_nan=False)
    (process,) = explainer._all
    assert process.process.pid != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, process.process.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)


def test_what_ends_a_process_ends_one_explanation(stocked, explainer: ServedExplainer) -> None:
    explainer.prepare()
    (first,) = explainer._all
    version = resolve(parse_reference("pets"), records=stocked.records)
    with open_explainer("pets", stocked) as opened:
        with pytest.raises(OverloadedError) as refused:
            explainer.explain(version, Refusing(opened.interface), ROW, {}, 30.0)
        assert refused.value.retry_after_s == 7
        assert explainer.explain(version, opened.engine, ROW, {}, 30.0)["explanations"]
        assert explainer._all == {first}

        class Killing(Refusing):
            def run(self, inputs: Tensors, outputs: object = ()) -> dict[str, Array]:
                first.process.kill()
                first.process.wait()
                return opened.engine.run(inputs)

        with pytest.raises(UnavailableError, match="has ended"):
            explainer.explain(version, Killing(opened.interface), ROW, {}, 30.0)
        assert explainer.explain(version, opened.engine, ROW, {}, 30.0)["explanations"]
        (second,) = explainer._all
        assert second is not first
        os.kill(second.process.pid, signal.SIGSTOP)  # it hangs
        with pytest.raises(DeadlineError):
            explainer.explain(version, opened.engine, ROW, {}, -1.0)
        assert not explainer._all
    explainer.close()
    assert second.process.poll() is not None
    with pytest.raises(UnavailableError, match="stopping"):
        explainer.prepare()


def test_a_process_that_does_not_start_is_said_and_forgotten(explainer: ServedExplainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.app.explain_serving._BOOT", "raise SystemExit")
    with pytest.raises(UnavailableError, match="did not start"):
        explainer.prepare()
    assert not explainer._all


def test_a_process_that_loads_a_library_is_not_ended_for_it() -> None:
    ours, theirs = open_wire()
    process = ExplainProcess.__new__(ExplainProcess)
    process._wire, process._has_failed = ours, False
    child = Wire(theirs.detach())
    child.send({"loading": True})
    child.send({"done": {"explanations": []}})
    assert process.explain({"wish": {}}, ROW, Refusing(None), -1.0) == {"explanations": []}
    child.close()
    ours.close()
