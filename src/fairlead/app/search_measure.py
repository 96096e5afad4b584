"""What a search measures of a model: its size, its time against the baseline's in pairs, and what requirements bound beside.

Takes an Entrant-like model and the Setup; gives a Measured. Nothing else may run while it measures time: the caller sees to that.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.app.search_setup import EXPLAINED, Setup
from fairlead.app.wiring import House
from fairlead.core.conversion import RuntimeModel
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate
from fairlead.core.ports import Engine
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.search import Objective
from fairlead.engines.memory_probe import measure_memory
from fairlead.engines.opening import open_engine
from fairlead.engines.paired import Opener, PairLimits, decide_faster
from fairlead.engines.stopwatch import Timing, TimingLimits, time_engine
from fairlead.plan.ledger import broken_sentence
from fairlead.verify.attribution import compare_attributions
from fairlead.verify.run_rows import repeat_rows

TIMED = (MetricKind.LATENCY, MetricKind.THROUGHPUT)
_LOOKS_SLOWER = 1.05  # what noise alone makes of equal models in the time of a comparison
_CALLS = TimingLimits(500, 0.3)
_FEW_CALLS = TimingLimits(50, 0.05)
_PACKED_BYTES = 2**26  # of larger models it is not told what gzip makes of them: it takes seconds each, and all trials stand still


@dataclass(frozen=True)
class Measured:
    """Bytes, time over the baseline's, and the values of the requirements on size, time, memory and hardware by their names. `about_ms` is
    all that is known of the time where nothing else was to be measured. `compressed_bytes` is 0 where the files are too large to be packed.
    """

    size_bytes: int
    compressed_bytes: int
    values: Mapping[str, float] = field(default_factory=dict)
    against_baseline: Comparison | None = None
    memory_bytes: int = 0
    about_ms: float | None = None


class Meter:
    """Measures models against one baseline, whose own time is taken once."""

    def __init__(self, setup: Setup, house: House) -> None:
        self._setup, self._house = setup, house
        self._rows = repeat_rows(setup.rows.selection.inputs, setup.batch)
        entrant = setup.plain[setup.baseline]
        self.baseline_ms = time_engine(entrant.engine, self._rows, _CALLS).percentile_ms(50)

    def opener(self, candidate: Candidate, path: Path) -> Opener:
        """Return what opens the model of `candidate` that lies at `path`."""
        interface, sandbox = self._setup.trial.conversion.interface, self._house.sandbox

        def open_it() -> Engine:
            return open_engine(
                candidate.engine, path, interface, thread_count=candidate.thread_count, sandbox=sandbox, session=candidate.session
            )

        return open_it

    def compare(self, candidate: Candidate, path: Path, other: Candidate, other_path: Path, *, is_final: bool = False) -> Comparison:
        """Return how fast one model is against another; twice the time is given to what decides in the end."""
        time_s = self._house.settings.search_pair_time_s * (2 if is_final else 1)
        limits = PairLimits(time_s=time_s, seed=self._house.settings.seed)
        return decide_faster(self.opener(candidate, path), self.opener(other, other_path), self._rows, limits)

    def measure(self, candidate: Candidate, model: RuntimeModel, *, is_timed: bool = True) -> Measured:
        """Return what is known of `candidate`, which runs `model`."""
        size = sum(path.stat().st_size for path in model.files.values())
        values = {"size_mb": size / 1e6, "cores": float(candidate.thread_count)}
        compressed = sum(map(_compressed_bytes, model.files.values())) if size <= _PACKED_BYTES else 0
        if not is_timed:
            return Measured(size, compressed, values, about_ms=self._about_ms(candidate, model.path))
        baseline = self._setup.plain[self._setup.baseline]
        comparison = None
        if model.path != baseline.model.path or candidate != baseline.candidate:
            comparison = self.compare(candidate, model.path, baseline.candidate, baseline.model.path)
        values |= self._required_times(candidate, model.path) | self._reasons(candidate, model.path)
        memory = self.memory_bytes(candidate, model.path)
        if memory:
            values["memory_mb"] = memory / 1e6
        return Measured(size, compressed, values, comparison, memory)

    def _about_ms(self, candidate: Candidate, path: Path) -> float:
        engine = self.opener(candidate, path)()
        try:
            return time_engine(engine, self._rows, _FEW_CALLS).percentile_ms(50)
        finally:
            engine.close()

    def _required_times(self, candidate: Candidate, path: Path) -> dict[str, float]:
        wanted = [item for item in self._setup.trial.plan.requirements if item.kind in TIMED]
        if not wanted:
            return {}
        engine = self.opener(candidate, path)()
        try:
            timings = {batch: self._time(engine, batch) for batch in {item.batch for item in wanted}}
        finally:
            engine.close()
        return {item.name: _figure(item, timings[item.batch]) for item in wanted}

    def _reasons(self, candidate: Candidate, path: Path) -> dict[str, float]:
        """Return how alike the original and the candidate rank what their answers hang on, where a requirement asks for it."""
        wanted = [item for item in self._setup.trial.plan.requirements if item.metric == EXPLAINED]
        if not wanted:
            return {}
        engine = self.opener(candidate, path)()
        try:
            inputs, seed = self._setup.rows.selection.inputs, self._house.settings.seed
            found = compare_attributions(self._setup.reference, engine, inputs, seed)
        finally:
            engine.close()
        return {item.name: found.mean for item in wanted}

    def _time(self, engine: Engine, batch: int) -> Timing:
        return time_engine(engine, repeat_rows(self._setup.rows.selection.inputs, batch), _CALLS)

    def memory_bytes(self, candidate: Candidate, path: Path) -> int:
        """Return what the model takes in memory; 0 where nothing asks for it."""
        is_bounded = any(item.kind is MetricKind.MEMORY for item in self._setup.trial.plan.requirements)
        if not is_bounded and self._setup.objective is not Objective.MEMORY:
            return 0
        interface = self._setup.trial.conversion.interface
        engine = self.opener(candidate, path)()
        try:
            reading = measure_memory(
                path,
                interface,
                self._rows,
                engine=candidate.engine,
                thread_count=candidate.thread_count,
                running=engine,
                session=candidate.session,
            )
        finally:
            engine.close()
        return max(reading.model_bytes, 1)


def _compressed_bytes(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9, mtime=0))


def _figure(item: Requirement, timing: Timing) -> float:
    if item.metric == "throughput_rps":
        return timing.throughput_rps
    return timing.percentile_ms(float(item.metric.removeprefix("p").removesuffix("_ms")))


def shortfall(values: Mapping[str, float], requirements: tuple[Requirement, ...]) -> float:
    """Return by how much bounds on size, time and memory are missed: the sum of logarithms of how many times they are exceeded."""
    total = 0.0
    for item in requirements:
        value = values.get(item.name)
        if item.is_loss_bound or value is None or item.is_met(value) or item.bound <= 0:
            continue
        total += abs(math.log(max(value, 1e-12) / item.bound))
    return total


def first_broken(values: Mapping[str, float], requirements: tuple[Requirement, ...]) -> str:
    """Say which requirement is missed first and by how much; "" where none is that was measured."""
    for item in requirements:
        if item.name in values and not item.is_met(values[item.name]):
            return broken_sentence(item, values[item.name])
    return ""


def is_slower(comparison: Comparison | None) -> bool:
    """Whether pairs show it, or look like it and have not shown otherwise: what may be slower is not taken for as fast."""
    if comparison is None:
        return False
    return comparison.outcome is Outcome.SLOWER or (comparison.outcome is Outcome.OPEN and comparison.ratio > _LOOKS_SLOWER)
