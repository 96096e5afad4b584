"""For every test: an empty registry of its own, short measurements, Keras on the back-end that the test environment has, properties without
a deadline. For the run: which worker tests what and when.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import hypothesis
import pytest

sys.path.append(str(Path(__file__).parent))  # the fakes of ports: memory_records.py
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What needs seconds to build (TensorFlow for .tflite, OpenVINO) is only built where a test is about it.
ENGINES = "onnxruntime,trees,torch,python,booster"
# How fast a model is, is no test's business: where one is about measuring, it says how long.
QUICK = {
    "FAIRLEAD_ENGINES": ENGINES,
    "FAIRLEAD_VERIFY_TIME_S": "0.1",
    "FAIRLEAD_ENGINE_CHOICE_TIME_S": "0.05",
    "FAIRLEAD_SEARCH_PAIR_TIME_S": "0.1",
}
os.environ.update(QUICK)  # for what is built once per module or session, before the fixture below
# A busy machine makes no property wrong: time is bounded by the suite, not by each example. FAIRLEAD_EXAMPLES: examples of a property, in
# percent of what it asks for (of 100, where it asks for no number). `make soak` tries many more.
EXAMPLES = int(os.environ.get("FAIRLEAD_EXAMPLES", "25"))
FEWEST = 10
# FAIRLEAD_CASES: so many cases of each test that has parameters, at most; 0: all. For a second interpreter, which changes no data.
CASES = int(os.environ.get("FAIRLEAD_CASES", "0"))
TESTS = Path(__file__).parent
ROOMS = {"end_to_end": 0, "clients": 1, "hostile": 2, "contract": 3, "architecture": 4, "unit": 5}  # what takes long, first


def sync_nothing(file: int | IO[Any]) -> None:
    """Stand in for os.fsync: no test cuts the power, and thousands of syncs take a minute. What kills processes or lets calls fail does so
    in processes of its own, which sync.
    """
    os.fstat(file if isinstance(file, int) else file.fileno())


os.fsync = sync_nothing
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it runs in the background so, and programs hand it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("fairlead", deadline=None)
hypothesis.settings.load_profile("fairlead")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each property its share of examples; leave out cases of tests with many where few are wanted; begin with what takes long where
    several processes test, so that none is left alone with it in the end.
    """
    for test in dict.fromkeys(getattr(item, "function", None) for item in items):
        asked = getattr(test, "_hypothesis_internal_use_settings", None)
        if asked is not None:
            count = max(asked.max_examples * EXAMPLES // 100, min(asked.max_examples, FEWEST))
            test._hypothesis_internal_use_settings = hypothesis.settings(asked, max_examples=count)
    if CASES:
        chosen = few_of_each(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: (ROOMS.get(item.path.relative_to(TESTS).parts[0], 0), -slow[item.path], str(item.path)))


def few_of_each(items: list[pytest.Item]) -> set[pytest.Item]:
    """CASES of each test function, evenly chosen, the first among them."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {found[place * len(found) // CASES] for found in cases.values() for place in range(CASES)}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist hears of it: no test begins before all have told
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the other processes that run tests what this one has collected."""
    forget()
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        names = [str(hash("a seed of its own")), *(item.nodeid for item in session.items)]
        (Path(session.config.option.basetemp).parent / f"collected-{worker}").write_text("\n".join(names))


def forget() -> None:
    """Take what is there out of the garbage collector's sight. Timing a model and unloading one have it look at everything, which takes
    half a second where the modules of all tests and a few frameworks are in the process.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _forget_what_a_file_imported() -> Iterator[None]:
    yield
    forget()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, one for each process that runs tests. Whoever stops it starts it again."""
    pytest.importorskip("pg8000", reason="the extra 'postgres' is not installed")
    from postgres_server import find_binaries, postgres_server

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def s3():
    """A server that speaks S3, one for each process that runs tests."""
    for module in ("boto3", "moto"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from s3_server import CREDENTIALS, s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(autouse=True)
def fairlead_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point FAIRLEAD_HOME at a folder of this test, so that nothing reaches the home of whoever runs it."""
    home = tmp_path / "fairlead-home"
    monkeypatch.setenv("FAIRLEAD_HOME", str(home))
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    return home
