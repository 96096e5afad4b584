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


@pytest.mark.parametrize(
    ("target", "base", "model", "version"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None, ""),
        ("http://127.0.0.1:8080/v2/models/digits", "http://127.0.0.1:8080", "digits", ""),
        ("http://host/team/v2/models/digits/versions/2/infer", "http://host/team", "digits", "2"),
    ],
)
def test_the_url_of_a_model_says_where_the_server_is_and_which_model_is_meant(target, base, model, version, monkeypatch) -> None:
    jobs = []
    monkeypatch.setattr("fairlead.app.bench.probe", jobs.append)
    bench(BenchRequest(BenchJob(target)), pytest.fail, report=pytest.fail)
    assert [(job.url, job.model, job.version) for job in jobs] == [(base, model, version)]
