"""Metrics as text: Prometheus's format 0.0.4 and OpenMetrics 1.0.

Takes families with their samples; yields bytes in pieces of a few hundred lines, so that whoever serves them can do other work in between.
Formats: prometheus.io/docs/instrumenting/exposition_formats, github.com/prometheus/OpenMetrics. Prometheus's own library takes
several times as long, in one piece, and a page is written in the thread that answers requests; tests read every page with that library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from fairlead.monitor.families import Family, Kind
from fairlead.monitor.histogram import Reading

_PIECE_LINES = 250
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Value = int | float | Reading
Sample = tuple[tuple[str, ...], Value]  # values of the family's labels, and what was measured


def write(families: Iterable[tuple[Family, Iterable[Sample]]], *, is_open_metrics: bool) -> Iterator[bytes]:
    """Yield the page. A family without samples is left out."""
    lines: list[str] = []
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}  # labels that were written: most families share theirs
    for family, samples in families:
        head = _head(family, is_open_metrics=is_open_metrics)
        for values, value in samples:
            if head:
                lines += head
                head = []
            key = (family.labels, values)
            labels = known.get(key)
            if labels is None:
                labels = known[key] = _labels(family.labels, values)
            if isinstance(value, Reading):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(f"{family.full_name}{{{labels}}} {_number(value)}" if labels else f"{family.full_name} {_number(value)}")
            if len(lines) >= _PIECE_LINES:
                yield _joined(lines)
                lines = []
    yield _joined([*lines, "# EOF"] if is_open_metrics else lines)


def _joined(lines: list[str]) -> bytes:
    return "\n".join([*lines, ""]).encode()


def _head(family: Family, *, is_open_metrics: bool) -> list[str]:
    if not is_open_metrics:
        kind = Kind.GAUGE if family.kind is Kind.INFO else family.kind
        return [f"# HELP {family.full_name} {family.meaning}.", f"# TYPE {family.full_name} {kind}"]
    has_unit = family.unit and family.name.endswith(f"_{family.unit}")
    unit = [f"# UNIT {family.name} {family.unit}"] if has_unit else []
    return [f"# TYPE {family.name} {family.kind}", *unit, f"# HELP {family.name} {family.meaning}."]


def _histogram(name: str, labels: str, reading: Reading) -> list[str]:
    start = f"{name}_bucket{{{labels}{',' if labels else ''}"
    counts: list[int] = reading.counts.cumsum().tolist()
    lines = [f"{start}{bound}{count}" for bound, count in zip(_bounds(reading.bounds.tobytes()), counts, strict=True)]
    around = f"{{{labels}}}" if labels else ""
    return [*lines, f"{name}_sum{around} {_number(reading.total)}", f"{name}_count{around} {counts[-1]}"]


@cache
def _bounds(bounds: bytes) -> tuple[str, ...]:
    """Return how each bound is written. There are few kinds of histogram, and writing a float takes longer than the rest of its line."""
    return (*(f'le="{bound!r}"}} ' for bound in np.frombuffer(bounds).tolist()), 'le="+Inf"} ')


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)])


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"
