"""What trials made is there whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fairlead.app.trial_cache import TrialCache, key_of
from fairlead.core.lineage import Step
from fairlead.core.plan import Candidate
from fairlead.core.search import PointStatus, SearchPoint
from fairlead.security.digests import digest_file


def make(tmp_path: Path, content: bytes = b"a model") -> tuple[Path, Step]:
    model = tmp_path / "made.onnx"
    model.write_bytes(content)
    return model, Step("optimize", "store_fp16", "before", digest_file(model))


def point(name: str) -> SearchPoint:
    return SearchPoint(Candidate(name, (), "onnxruntime", 1, ""), "digest", PointStatus.KEPT, 10, values={"size_mb": 0.1})


def test_a_model_comes_back_with_its_step(tmp_path: Path) -> None:
    cache, (model, step) = TrialCache(tmp_path / "home"), make(tmp_path)

    cache.put("key", model, step)
    found = cache.get("key")

    assert found is not None
    assert found[0].read_bytes() == b"a model"
    assert found[1] == step
    assert cache.get("another") is None


def test_a_damaged_model_is_as_good_as_absent_and_is_replaced(tmp_path: Path) -> None:
    cache, (model, step) = TrialCache(tmp_path / "home"), make(tmp_path)
    cache.put("key", model, step).write_bytes(b"damaged")

    assert cache.get("key") is None
    cache.put("key", model, step)
    assert cache.get("key") is not None
    cache.put("key", model, step)
    assert cache.get("key") is not None


def test_everything_that_decides_the_bytes_is_in_the_key() -> None:
    facts = {"model": "a", "settings": {"ratio": 0.5}, "seed": 0}

    assert key_of(facts) == key_of({"seed": 0, "settings": {"ratio": 0.5}, "model": "a"})
    assert len({key_of(facts), key_of({**facts, "seed": 1}), key_of({**facts, "settings": {"ratio": 0.25}})}) == 3


def test_the_journal_comes_back_also_where_the_last_line_was_cut_off(tmp_path: Path) -> None:
    cache = TrialCache(tmp_path / "home")
    for name in ("one", "two"):
        cache.note("search", point(name))
    journal = next((tmp_path / "home" / "journals").iterdir())
    journal.write_bytes(journal.read_bytes() + b'{"candidate": {"na')

    assert [one.candidate.name for one in cache.points("search")] == ["one", "two"]
    assert cache.points("search")[0] == point("one")
    cache.forget("search")
    assert cache.points("search") == ()


def test_what_nobody_used_for_a_week_goes(tmp_path: Path) -> None:
    cache, (model, step) = TrialCache(tmp_path / "home"), make(tmp_path)
    old = cache.put("old", model, step).parent
    cache.put("new", model, step)
    long_ago = time.time() - 8 * 86_400
    os.utime(old, (long_ago, long_ago))

    cache.sweep()

    assert cache.get("old") is None
    assert cache.get("new") is not None
