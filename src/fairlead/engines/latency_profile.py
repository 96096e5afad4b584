"""Measures how long calls take over rows and threads: a LatencyProfile.

Takes what opens an engine for a number of threads, rows to send, and how long it may take; gives a LatencyProfile. All points are timed in
turns, round by round, so that a machine that is slow for a while is slow for all of them; how much it was, is the profile's `drift`. Sizes
whose single call takes too much of the time are left out, and named. Raises what the engine raises, and SpecError for sizes that make no
sense. The stopwatch is engines/stopwatch.py's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Tensors
from fairlead.core.latency_profile import SAMPLE_COUNT, LatencyProfile, ProfilePoint
from fairlead.core.ports import Clock, Engine
from fairlead.engines.machine import describe_machine
from fairlead.engines.stopwatch import collector_off, nearest_rank, time_calls
from fairlead.errors import SpecError

_CALL_SHARE = 0.05  # a call that takes more of all the time than this leaves too few of them
_ROUND_COUNT = 12  # wanted; fewer where calls are long
_SLICE_CALLS = 50
_DRIFT_COUNT = 3


@dataclass(frozen=True)
class ProfileJob:
    """`open_engine(threads)` opens the model; `inputs` are rows to send, repeated where a size needs more. About `time_s` in all."""

    open_engine: Callable[[int], Engine]
    inputs: Tensors
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    thread_counts: Sequence[int] = (1,)
    time_s: float = 3.0
    engine: str = ""


@dataclass(frozen=True)
class _Place:
    engine: Engine
    inputs: Tensors
    batch: int
    thread_count: int


def measure_profile(job: ProfileJob, *, clock: Clock = time.perf_counter) -> LatencyProfile:
    """Return the profile that was measured."""
    sizes, threads = sorted(set(job.batches)), sorted(set(job.thread_counts))
    if not sizes or not threads or sizes[0] < 1 or threads[0] < 1:
        raise SpecError("Batch sizes and threads of a profile are 1 or more.")
    machine = describe_machine()
    with ExitStack() as stack:
        engines = {count: stack.enter_context(closing(job.open_engine(count))) for count in threads}
        places, notes = _places(job, engines, sizes, clock)
        rounds = _rounds(places, job.time_s, clock)
    speeds = _speeds(rounds)
    points = tuple(_point(place, [times[number] for times in rounds], speeds) for number, place in enumerate(places))
    return LatencyProfile(
        points=points,
        drift=_drift(speeds),
        engine=job.engine,
        processor=machine.processor,
        measured_at=time.time(),
        versions=machine.versions,
        notes=tuple(notes),
    )


def _places(job: ProfileJob, engines: dict[int, Engine], sizes: Sequence[int], clock: Clock) -> tuple[list[_Place], list[str]]:
    """Return what will be timed, warmed up, and which sizes are left out since a call of them would take too long."""
    places, notes = [], []
    for count, engine in engines.items():
        for batch in sizes:
            inputs = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in job.inputs.items()}
            began = clock()
            engine.run(inputs)
            if batch > sizes[0] and (clock() - began) > job.time_s * _CALL_SHARE:
                left = ", ".join(str(size) for size in sizes if size >= batch)
                notes.append(f"calls with {left} rows on {count} threads take too long for this time and were not measured")
                break
            places.append(_Place(engine, inputs, batch, count))
    return places, notes


def _rounds(places: Sequence[_Place], time_s: float, clock: Clock) -> list[list[list[float]]]:
    """Return, for each round, the milliseconds of the calls at each place."""
    share_s = time_s / _ROUND_COUNT / len(places)
    rounds: list[list[list[float]]] = []
    with collector_off():
        deadline = clock() + time_s
        while not rounds or clock() < deadline:
            rounds.append([_slice(place, share_s, clock) for place in places])
    return rounds


def _slice(place: _Place, share_s: float, clock: Clock) -> list[float]:
    """Return the times of as many calls as fit; the first, which finds the caches as another size left them, tells how many."""
    (first_ms,) = time_calls(place.engine, place.inputs, 1, clock)
    count = min(int(share_s * 1e3 / max(first_ms, 1e-3)), _SLICE_CALLS)
    return time_calls(place.engine, place.inputs, count, clock) if count > 1 else [first_ms]


def _speeds(rounds: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Return how slow each round was against all of them: the median over the places of the round's median to the place's."""
    usual = [statistics.median(statistics.median(times[place]) for times in rounds) for place in range(len(rounds[0]))]
    return [statistics.median(statistics.median(calls) / usual[place] for place, calls in enumerate(times)) for times in rounds]


def _drift(speeds: Sequence[float]) -> tuple[float, ...]:
    """Return equally likely factors around a mean of 1: the means of equal parts of the sorted speeds."""
    parts = np.array_split(np.sort(speeds), min(_DRIFT_COUNT, len(speeds)))
    means = np.array([part.mean() for part in parts])
    return tuple((means / means.mean()).tolist())


def _point(place: _Place, rounds: Sequence[Sequence[float]], speeds: Sequence[float]) -> ProfilePoint:
    calls = sorted(call for times in rounds for call in times)
    mean = statistics.fmean(calls)
    steady = np.sort(np.concatenate([np.array(times) / speed for times, speed in zip(rounds, speeds, strict=True)]))
    thinned = np.array([part.mean() for part in np.array_split(steady, min(SAMPLE_COUNT, len(steady)))])
    return ProfilePoint(
        batch=place.batch,
        thread_count=place.thread_count,
        p50_ms=nearest_rank(calls, 50),
        p95_ms=nearest_rank(calls, 95),
        p99_ms=nearest_rank(calls, 99),
        mean_ms=mean,
        cv=statistics.pstdev(calls) / mean,
        call_count=len(calls),
        sample_ms=tuple((thinned * mean / thinned.mean()).tolist()),
    )
