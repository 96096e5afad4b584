"""What a benchmark is asked to load: a URL, or a name."""

from __future__ import annotations

import pytest

from fairlead.app.bench import BenchRequest, bench
from fairlead.errors import UnavailableError
from fairlead.probe.load.bench import BenchJob


@pytest.mark.parametrize(("target", "is_told"), [("localhost:1", True), ("http://127.0.0.1:1", False), ("127.0.0.1:1", False)])
def test_what_may_be_a_version_and_answers_nothing_is_told_how_a_version_is_measured(target, is_told) -> None:
    with pytest.raises(UnavailableError, match="Nothing answers") as caught:
        bench(BenchRequest(BenchJob(target)), pytest.fail, report=lambda _: None)
    assert ("fairlead serve localhost:1" in caught.value.hint) is is_told
