"""Reading a metrics page in Prometheus's text format, as a running server writes it.

Takes text that may come from anybody; gives samples by name. Raises RequestError for what is no such page, or too large. What labels hold
is made printable, since it ends on a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.errors import RequestError

_SAMPLE_LIMIT = 200_000
_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One line of a page."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Page:
    """All samples by name, and when they were taken (seconds of a clock that never goes back)."""

    samples: Mapping[str, tuple[Sample, ...]]
    at: float

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples that have these labels; None where there is none."""
        found = [sample.value for sample in self.samples.get(name, ()) if labels.items() <= sample.labels.items()]
        return sum(found) if found else None

    def by_version(self) -> dict[tuple[str, str], Page]:
        """Return the samples of each model and version as a page of their own."""
        parts: dict[tuple[str, str], dict[str, list[Sample]]] = {}
        for name, samples in self.samples.items():
            for sample in samples:
                if "model" in sample.labels and "version" in sample.labels:
                    part = parts.setdefault((sample.labels["model"], sample.labels["version"]), {})
                    part.setdefault(name, []).append(sample)
        return {key: Page({name: tuple(found) for name, found in part.items()}, self.at) for key, part in parts.items()}


def read_page(text: str, at: float) -> Page:
    """Return what a page says. Comments are skipped."""
    samples: dict[str, list[Sample]] = {}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if len(lines) > _SAMPLE_LIMIT:
        raise RequestError(f"The metrics page has more than {_SAMPLE_LIMIT} samples.")
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise RequestError("What is there is no metrics page.", hint="Give the URL of a running `fairlead serve`.")
        name, labels, value = match.groups()
        samples.setdefault(name, []).append(Sample(_labels(labels or ""), read_number(value)))
    return Page({name: tuple(found) for name, found in samples.items()}, at)


def _labels(text: str) -> dict[str, str]:
    return {
        name: _printable(re.sub(r"\\.", lambda escape: _UNESCAPED.get(escape[0], escape[0]), value)) for name, value in _LABEL.findall(text)
    }


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(character if character.isprintable() else "?" for character in text)


def read_number(text: str) -> float:
    """Return a number as pages write it; raises RequestError."""
    try:
        return float(text)
    except ValueError:
        raise RequestError("What is there is no metrics page.", hint="Give the URL of a running `fairlead serve`.") from None
