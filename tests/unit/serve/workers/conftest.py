"""A model for workers, and an event loop for a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from counting_model import COUNTED, GOLDEN, counting_model
from loop_thread import LoopThread

from fairlead.core.golden import Golden
from fairlead.core.recipe import EngineRecipe
from fairlead.serve.workers.fleet import WorkerJob
from fairlead.serve.workers.policy import WorkerPolicy


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> EngineRecipe:
    return EngineRecipe("onnxruntime", counting_model(tmp_path_factory.mktemp("model") / "model.onnx"), COUNTED, is_fork_safe=True)


@pytest.fixture(scope="session")
def job(counting: EngineRecipe):
    def job(count: int = 2, *, golden: Golden | None = GOLDEN, report=lambda sentence: None, **policy) -> WorkerJob:
        return WorkerJob(counting, golden, "m@1", WorkerPolicy(count=count, **policy), report)

    return job


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()
