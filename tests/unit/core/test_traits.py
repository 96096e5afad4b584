from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.fact import check_traits
from fairlead.core.interface import Interface, Task
from fairlead.core.lineage import Lineage, Step
from fairlead.core.plan import Candidate, Plan
from fairlead.core.requirement import parse_requirement
from fairlead.core.target import Machine, Target
from fairlead.core.traits import version_traits
from fairlead.core.verdict import Parity, Quality, Speed, Verdict

PARITY = Parity(4, 0, (), 2, {}, is_deterministic=True, tolerance=1e-5)
QUALITY = (Quality("accuracy", 0.9, 0.95, (0.8, 0.95), (0.9, 0.98), 100),)
SPEED = (Speed(32, 9.0, 9.0, 9.0, 9.0, 9.0, 100, 1), Speed(1, 0.1, 0.2, 0.3, 0.1, 900.0, 100, 1))
VERDICT = Verdict("c", "e", "o", (), PARITY, QUALITY, SPEED, 71_000, 5_000, 1, "a" * 64, "", "rows", 4, 0, Machine("L", "p", 2, 1))
CHOSEN = Candidate("int8", ("quantize_dynamic_int8", "prune_magnitude(ratio=0.5)"), "onnxruntime", 1, "why", "ort")
LINEAGE = Lineage("b" * 64, "model.json", (Step("ingest", "xgboost-json", "b" * 64, "b" * 64, {"source": "XGBoost 3.2.0"}),))
PLAN = Plan((parse_requirement("accuracy>=0.9"), parse_requirement("p99_ms<=10")), Target(), (CHOSEN,))
INTERFACE = Interface((), (), Task.CLASSIFICATION, labels=("a", "b"))


def traits(**changes: object) -> dict:
    given = {"verdict": VERDICT, "engine": CHOSEN, "lineage": LINEAGE, "plan": PLAN, "interface": INTERFACE} | changes
    return version_traits(*given.values(), publisher="ann", extra={"parameter_count": 7.0, "engine": "other"})


def test_what_the_evidence_says_becomes_words_and_numbers():
    assert traits() == {
        "accuracy": 0.95,
        "candidate": "int8",
        "engine": "onnxruntime",
        "flips": 2.0,
        "form": "ort",
        "format": "xgboost-json",
        "framework": "xgboost",
        "framework_version": "3.2.0",
        "label_count": 2.0,
        "memory_bytes": 5000.0,
        "p50_ms": 0.1,
        "p99_ms": 0.3,
        "parameter_count": 7.0,
        "passes": "quantize_dynamic_int8 prune_magnitude",
        "promise": "accuracy>=0.9, p99_ms<=10",
        "publisher": "ann",
        "size_bytes": 71000.0,
        "source": "model.json",
        "source_digest": "b" * 64,
        "task": "classification",
        "throughput_rps": 900.0,
    }


def test_what_is_not_known_has_no_key_and_numbers_that_are_none_are_left_out():
    bare = replace(
        VERDICT, quality=(Quality("accuracy", 1, math.nan, (0, 1), (0, 1), 1),), speed=(), parity=replace(PARITY, decision_flip_count=None)
    )
    found = traits(verdict=bare, lineage=Lineage("b" * 64, "x", ()), interface=Interface((), ()), plan=Plan((), Target(), ()))
    assert not {"accuracy", "p99_ms", "flips", "framework", "task", "promise"} & set(found)


def test_a_metric_of_the_users_own_is_no_word_of_a_query():
    own = replace(VERDICT, quality=(replace(QUALITY[0], metric="shop.metrics:profit"),))
    assert "shop.metrics:profit" not in traits(verdict=own)


@given(st.text(max_size=2000), st.text(max_size=40))
def test_whatever_files_are_called_can_be_kept(name, framework):
    lineage = Lineage("b" * 64, name, (Step("ingest", "onnx", "b" * 64, "b" * 64, {"source": framework}),))
    found = traits(lineage=lineage)
    assert check_traits(found) == found
    assert all(value.isprintable() for value in found.values() if isinstance(value, str))
