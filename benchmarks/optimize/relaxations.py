"""Twenty promises that nothing keeps, on real candidates: is the relaxation that the ledger names right?

Measures every candidate of the small CNN on real digits once (verify, on this machine), then holds twenty promises against that.
A relaxation is right if, by the requirements' own comparison and nothing of the ledger's: with it a candidate keeps everything; with each
bound moved 95 % of the way none does; and no single bound that gives way by less, in proportion, lets one fit. Prints a table.

    python benchmarks/optimize/relaxations.py [--folder build/optimize]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models import make

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.prove import prove
from fairlead.app.wiring import build_house
from fairlead.app.workspace import workspace
from fairlead.core.ledger import Measured, Relaxation, measured_from
from fairlead.core.plan import Candidate, Plan
from fairlead.core.requirement import Requirement, parse_requirement, parse_requirements
from fairlead.core.target import Target
from fairlead.errors import UnsupportedError
from fairlead.plan.ledger import account
from fairlead.plan.relaxation import relaxed

# Measured of every candidate, whatever is promised.
EVERYTHING = parse_requirements(
    [
        *("accuracy>=1e-6", "accuracy_drop<=0.999", "ece<=0.999", "decision_flips<=1000000", "max_abs_diff<=1000000", "size_mb<=1000000"),
        *("p50_ms<=1000000", "p99_ms<=1000000", "p50_ms@32<=1000000", "throughput_rps@32>=0.000001", "memory_mb<=1000000"),
    ]
)
CANDIDATES = (
    (),
    ("optimize_graph",),
    ("store_fp16",),
    ("store_int8",),
    ("store_int4",),
    ("quantize_dynamic_int8",),
    ("quantize_static_int8",),
)
PROMISES = (
    "size_mb<=0.001",
    "size_mb<=0.1",
    "accuracy>=0.9999",
    "p50_ms<=0.0001",
    "p50_ms@32<=0.001",
    "memory_mb<=0.01",
    "throughput_rps@32>=100000000",
    "size_mb<=0.3, decision_flips<=0, max_abs_diff<=0",
    "size_mb<=0.5, max_abs_diff<=0.000001",
    "size_mb<=0.5, accuracy_drop<=0, max_abs_diff<=0.0001",
    "accuracy>=0.9999, size_mb<=0.5",
    "accuracy>=0.9999, size_mb<=0.001",
    "p50_ms<=0.0001, size_mb<=0.001",
    "p50_ms<=0.0001, size_mb<=0.5, accuracy_drop<=0.01",
    "accuracy>=0.9999, p50_ms<=0.0001, size_mb<=0.001",
    "ece<=0.000001",
    "ece<=0.000001, size_mb<=0.4",
    "decision_flips<=0, size_mb<=0.36, ece<=0.000001",
    "throughput_rps@32>=100000000, accuracy_drop<=0",
    "max_abs_diff<=0, size_mb<=1, p99_ms<=1000",
)


def measure(folder: Path) -> list[Measured]:
    """Return what verify measures of each candidate."""
    case = make("digit_cnn", folder)
    found = []
    with tempfile.TemporaryDirectory() as home:
        house = build_house(home)
        with workspace(house) as work:
            artifact, rows = take_in(Intake(case.model, case.data), house, work, Silence())
            conversion = to_onnx(artifact, house, work, Silence())
            for number, passes in enumerate(CANDIDATES):
                name = "+".join(passes) or "as-converted"
                candidate = Candidate(name, passes, "onnxruntime", 1, "asked for")
                trial = Trial(artifact, conversion, rows, Plan(EVERYTHING, Target(), (candidate,)))
                try:
                    proof = prove(trial, house, work / str(number), Silence())
                except UnsupportedError as error:
                    print(f"left out {name}: {error.message}")
                    continue
                found.append(measured_from(proof.verdict, name))
    return found


class Silence:
    """Progress that nobody watches."""

    def step(self, text: str) -> None:
        """Say nothing."""

    tell = done = step


def fits(measured: Sequence[Measured], promise: Sequence[Requirement]) -> list[str]:
    """Return the candidates that keep the promise, by the requirements' own comparison."""
    return [item.candidate for item in measured if not item.failure and all(one.is_met(item.values[one.name]) for one in promise)]


def least_single(measured: Sequence[Measured], promise: Sequence[Requirement]) -> float:
    """Return the smallest relative change of one bound that lets a candidate fit, found by halving; infinite where none does."""
    best = math.inf
    for place, one in enumerate(promise):
        if not one.bound:
            continue
        sign = -1.0 if one.is_minimum else 1.0
        low, high = 0.0, 1e9
        if not _fits_with(measured, promise, place, one.bound + sign * high * abs(one.bound)):
            continue
        for _ in range(200):
            middle = (low + high) / 2
            if _fits_with(measured, promise, place, one.bound + sign * middle * abs(one.bound)):
                high = middle
            else:
                low = middle
        best = min(best, high)
    return best


def _fits_with(measured: Sequence[Measured], promise: Sequence[Requirement], place: int, bound: float) -> bool:
    changed = [replace(one, bound=bound) if number == place else one for number, one in enumerate(promise)]
    return bool(fits(measured, changed))


def judge(measured: Sequence[Measured], promise: tuple[Requirement, ...]) -> tuple[str, tuple[Relaxation, ...], bool]:
    """Return what the ledger names, and whether it is right."""
    ledger = account(measured, promise)
    chosen = ledger.together or ((ledger.relaxation,) if ledger.relaxation else ())
    if not chosen or ledger.feasible:
        return "nothing named", chosen, False
    typed = tuple(
        next((parse_requirement(item.text) for item in chosen if (item.requirement, item.is_minimum) == (one.name, one.is_minimum)), one)
        for one in promise
    )
    works = chosen[0].candidate in fits(measured, typed)
    too_little = fits(measured, relaxed(promise, chosen, 0.95))
    least = least_single(measured, promise)
    is_least = (
        chosen[0].change_ratio <= least * (1 + 1e-6) if len(chosen) == 1 and math.isfinite(chosen[0].change_ratio) else least == math.inf
    )
    return "; ".join(item.text for item in chosen), chosen, works and not too_little and is_least


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fairlead-cases", help="where models are kept")
    measured = measure(parser.parse_args().folder)
    for item in measured:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in item.values.items())
        print(f"{item.candidate}: {shown}{f'; {item.failure}' if item.failure else ''}")
    print("\n| promise that nothing keeps | named relaxation | candidate | right |\n|---|---|---|---|")
    right = 0
    for text in PROMISES:
        promise = parse_requirements(text.split(","))
        named, chosen, is_right = judge(measured, promise)
        right += is_right
        print(f"| {text} | {named} | {chosen[0].candidate if chosen else ''} | {'yes' if is_right else 'NO'} |")
    print(f"\n{right} of {len(PROMISES)} right")


if __name__ == "__main__":
    main()
