"""Observations, and a watcher whose clock stands still."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fairlead.core.observation import BatchObservation, Observation
from fairlead.monitor.stage import Watcher, WatchJob


def seen(**changes) -> Observation:
    return Observation("id", "m", 1, 100.0, 1, 0.5, 1.0, "", "http")._replace(**changes)


def ran(**changes) -> BatchObservation:
    return BatchObservation("m", 1, 100.0, 1, 1, 1.0)._replace(**changes)


@pytest.fixture
def monitor() -> SimpleNamespace:
    watcher = Watcher(WatchJob(lambda name, number: (), lambda finding: None, clock=lambda: 100.0))
    return SimpleNamespace(seen=seen, ran=ran, watcher=watcher)
