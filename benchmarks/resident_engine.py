"""What does it cost to ask a model in a process of its own instead of in this one? Prints microseconds per call and the ratio.

    python benchmarks/resident_engine.py [--calls 2000]

1. "nothing" is a function that gives its input back: what remains is the way there and back (frames, pipes, two changes of process),
   against a plain call, for 1 row of 4 numbers, 1 MB and 16 MB.
2. Estimators that have no ONNX form, one row: scikit-learn in this process against the Python engine in the sandbox.

Calls of both kinds alternate in blocks, each on one thread; the median of the blocks' means counts. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.security.sandbox import OneShotSandbox

BLOCKS = 10
LIMITS = SandboxLimits(memory_bytes=4 * 2**30, output_bytes=2**28)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls of each kind for small inputs")
    calls = parser.parse_args().calls
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    print("| asked | in this process, us | in its own, us | ratio | added, us |\n|---|---|---|---|---|")
    for name, rows, count in _inputs(calls):
        _print_line(f"nothing, {name}", *_nothing(rows, count))
    for name, line in _estimators(max(calls // 4, BLOCKS)):
        _print_line(name, *line)
    return 0


def _inputs(calls: int) -> list[tuple[str, np.ndarray, int]]:
    return [
        ("1 row of 4", np.ones((1, 4), np.float32), calls),
        ("1 MB", np.ones((256, 1024), np.float32), max(calls // 10, BLOCKS)),
        ("16 MB", np.ones((4096, 1024), np.float32), max(calls // 100, BLOCKS)),
    ]


def _nothing(rows: np.ndarray, count: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        resident = OneShotSandbox().start(
            SandboxJob("fairlead.engines.resident_engine:load_libraries", Path(folder), {"libraries": []}, limits=LIMITS)
        )
        try:
            inputs = {"x": rows}
            return _alternate(lambda: dict(inputs), lambda: resident.ask(inputs, timeout_s=60), count)
        finally:
            resident.close()


def _estimators(count: int):
    import joblib

    from fairlead.engines.estimator_rows import answer_rows, select_by_position
    from fairlead.engines.python_engine import PythonEngine
    from fairlead.ingest.sklearn_reader import describe
    from sklearn_models import originals
    from sklearn_models.case import fit

    for case in originals.CASES:
        if case.suffix == "skops" or case.name.startswith("text"):
            continue
        estimator, rows = fit(case)
        select_by_position(estimator)
        interface = describe(estimator)
        inputs = {interface.inputs[0].name: rows[:1]}
        with tempfile.TemporaryDirectory() as folder:
            joblib.dump(estimator, Path(folder, "model.estimator"))
            engine = PythonEngine(Path(folder, "model.estimator"), interface, sandbox=OneShotSandbox())
            yield case.name, _alternate(lambda: answer_rows(estimator, interface, inputs), lambda: engine.run(inputs), count)  # noqa: B023 - called before the next turn
            engine.close()


def _alternate(one: Callable[[], object], other: Callable[[], object], count: int) -> tuple[float, float]:
    """Return the median of the blocks' mean microseconds, of both."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(BLOCKS):
        for call, times in zip((one, other), spent, strict=True):
            began = time.perf_counter()
            for _ in range(count // BLOCKS):
                call()
            times.append((time.perf_counter() - began) / (count // BLOCKS) * 1e6)
    return statistics.median(spent[0]), statistics.median(spent[1])


def _print_line(name: str, here_us: float, there_us: float) -> None:
    print(f"| {name} | {here_us:,.1f} | {there_us:,.1f} | {there_us / here_us:.2f} | {there_us - here_us:,.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
