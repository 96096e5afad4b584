"""Explanations as numbers that a page draws: bars, forces, patches over an image, intervals and curves, all in SVG units.

Takes core values of explanations; gives frozen values for templates/. Draws nothing itself, reads nothing, raises nothing. The pixels of a
picture become a PNG by hand (https://www.w3.org/TR/png-3/), so that the page needs no file beside it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.explanation import Curve, Explanation, Overview
from fairlead.core.interface import Array, shorten

WIDTH = 720
_LISTED = 15
_LINE = 22
_NAMES = 250  # left of the bars
_NUMBERS = 110  # right of them
_FORCE_HEIGHT = 74
_IMAGE_SIDE = 336
_CURVE_WIDTH, _CURVE_HEIGHT, _CURVE_EDGE = 340, 150, 26
_LABEL = 34
_LETTER = 6.5  # about the width of one
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Bar:
    """One feature: where its bar lies and what stands beside it; `low` and `high` are the ends of its interval."""

    y: float
    name: str
    given: str
    x: float
    width: float
    low: float
    high: float
    is_for: bool
    says: str


@dataclass(frozen=True)
class Bars:
    """The weightiest features; `zero` is where nothing stands. `rest` says what the others add."""

    bars: tuple[Bar, ...]
    zero: float
    height: float
    rest: str
    width: int = WIDTH
    names: int = _NAMES


@dataclass(frozen=True)
class Force:
    """One feature's push: a stretch of the line between the mean answer and this one. `name` is "" where there is no room for it."""

    x: float
    width: float
    is_for: bool
    name: str
    says: str


@dataclass(frozen=True)
class Forces:
    """All pushes: those for the answer end where it lies, those against it begin there."""

    forces: tuple[Force, ...]
    base: float
    output: float
    base_says: str
    output_says: str
    width: int = WIDTH
    height: int = _FORCE_HEIGHT


@dataclass(frozen=True)
class Patch:
    """A patch of an image; `strength` is its weight as a share of the largest."""

    x: float
    y: float
    width: float
    height: float
    strength: float
    is_for: bool
    says: str


@dataclass(frozen=True)
class Patches:
    """Patches over the image, which is a data: address ("" where there are no pixels to show)."""

    patches: tuple[Patch, ...]
    image: str
    width: float
    height: float


@dataclass(frozen=True)
class Word:
    """A word of a text, and the space behind it; `strength` is its weight as a share of the largest."""

    text: str
    space: str
    strength: float
    is_for: bool
    says: str


@dataclass(frozen=True)
class Line:
    """A curve: `dependence` and `local` are points of a polyline, `ticks` (x, text) below it, `low` and `high` the ends of its scale.

    Texts have no order, so that nothing lies between them: they are `dots` (x, y), and `dependence` is "".
    """

    feature: str
    subject: str
    dependence: str
    local: str
    ticks: tuple[tuple[float, str], ...]
    low: str
    high: str
    dots: tuple[tuple[float, float], ...] = ()
    width: int = _CURVE_WIDTH
    height: int = _CURVE_HEIGHT
    edge: int = _CURVE_EDGE


def draw_bars(found: Explanation) -> Bars:
    """Return bars for the weightiest features of one row."""
    shown = [place for place in found.ranked if found.weights[place]][:_LISTED]
    hidden = len(found.weights) - len(shown)
    values = [
        (found.features[place], given, found.weights[place], found.weights[place] - bound, found.weights[place] + bound)
        for place in shown
        for bound, given in ((found.bounds[place], "" if found.text else found.given[place]),)
    ]
    return _bars(values, f"{hidden} other {'words' if found.text else 'features'} together: {found.others(shown):+.4g}" if hidden else "")


def draw_importance(found: Overview) -> Bars:
    """Return bars for what the model loses without each feature."""
    shown = found.importances[:_LISTED]
    hidden = len(found.importances) - len(shown)
    rest = f"{hidden} other {'features' if found.repeats else 'words'} lose less" if hidden else ""
    return _bars([(item.feature, "", item.loss, *item.interval) for item in shown], rest)


def draw_forces(found: Explanation) -> Forces | None:
    """Return the pushes from the mean answer to this one; None where weights do not add up, or none weighs anything."""
    pluses = [place for place in found.ranked if found.weights[place] > 0]
    minuses = [place for place in found.ranked if found.weights[place] < 0]
    if not found.method.is_additive or not (pluses or minuses):
        return None
    up, down = sum(found.weights[place] for place in pluses), -sum(found.weights[place] for place in minuses)
    low, high = min(found.output - up, found.base), max(found.output + down, found.base)
    scale = (WIDTH - 2 * _LABEL) / max(high - low, _NEGLIGIBLE)

    def at(value: float) -> float:
        return round(_LABEL + (value - low) * scale, 1)

    forces = []
    for places, sign in ((pluses, -1), (minuses, 1)):
        end = found.output
        for place in places:
            size = abs(found.weights[place])
            start = end - size if sign < 0 else end
            name = shorten(found.features[place], 24)
            forces.append(
                Force(
                    at(start),
                    round(size * scale, 1),
                    sign < 0,
                    name if len(name) * _LETTER < size * scale else "",
                    f"{found.features[place]}: {found.weights[place]:+.4g}",
                )
            )
            end = end - size if sign < 0 else end + size
    return Forces(
        tuple(forces),
        at(found.base),
        at(found.output),
        f"{'without words' if found.text else 'mean'} {found.base:.4g}",
        f"{found.output:.4g}",
    )


def draw_patches(found: Explanation, row: Array | None) -> Patches | None:
    """Return the patches of an image, over the pixels of `row` (one row of its input); None where the features are no patches."""
    if found.grid is None:
        return None
    lines, places = found.grid
    largest = max((abs(weight) for weight in found.weights), default=0.0) or 1.0
    width, height = _IMAGE_SIDE / places, _IMAGE_SIDE / lines
    patches = tuple(
        Patch(
            round(place % places * width, 2),
            round(place // places * height, 2),
            round(width, 2),
            round(height, 2),
            round(abs(weight) / largest, 3),
            weight > 0,
            f"{found.features[place]}: {weight:+.4g}",
        )
        for place, weight in enumerate(found.weights)
    )
    return Patches(patches, "" if row is None else picture_address(row), _IMAGE_SIDE, _IMAGE_SIDE)


def draw_words(found: Explanation) -> tuple[Word, ...]:
    """Return the words of a text, in order; none where the features are something else."""
    largest = max((abs(weight) for weight in found.weights), default=0.0) or 1.0
    return tuple(
        Word(text.rstrip(), text[len(text.rstrip()) :], round(abs(weight) / largest, 3), weight > 0, f"{weight:+.4g}")
        for text, weight in zip(found.text, found.weights, strict=False)
    )


def draw_curve(curve: Curve) -> Line:
    """Return the lines of one feature; texts stand at equal distances."""
    numbers = [float(value) for value in curve.values] if not any(isinstance(value, str) for value in curve.values) else None
    across = numbers or [float(place) for place in range(len(curve.values))]
    middle = sum(curve.dependence) / len(curve.dependence)
    local = [value + middle for value in curve.local]
    low, high = min([*curve.dependence, *local]), max([*curve.dependence, *local])
    spread, length = high - low or 1.0, (across[-1] - across[0]) or 1.0

    def at(place: int, value: float) -> tuple[float, float]:
        x = _CURVE_EDGE + (across[place] - across[0]) / length * (_CURVE_WIDTH - 2 * _CURVE_EDGE)
        y = _CURVE_HEIGHT - _CURVE_EDGE - (value - low) / spread * (_CURVE_HEIGHT - 2 * _CURVE_EDGE)
        return round(x, 1), round(y, 1)

    ends = (0, len(across) - 1) if numbers else range(len(across))
    points = tuple(at(place, value) for place, value in enumerate(curve.dependence))
    return Line(
        curve.feature,
        curve.subject,
        _polyline(points) if numbers else "",
        _polyline(tuple(at(place, value) for place, value in enumerate(local))),
        tuple((at(place, low)[0], _tick(curve.values[place])) for place in ends),
        f"{low:.3g}",
        f"{high:.3g}",
        () if numbers else points,
    )


def picture_address(row: Array) -> str:
    """Return one image (height, width[, channels], channels first or last) as a data: address of a PNG; "" for what is none."""
    pixels = np.squeeze(row)
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[-1] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)) or pixels.dtype.kind not in "fiu":
        return ""
    known = np.nan_to_num(pixels.astype(np.float64))
    low, high = float(known.min()), float(known.max())
    grey = np.round((known - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    kind = {2: 0, 3: 2, 4: 6}[grey.ndim if grey.ndim == 2 else grey.shape[-1]]
    lines = b"".join(b"\0" + line.tobytes() for line in grey)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, kind, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _bars(values: Sequence[tuple[str, str, float, float, float]], rest: str) -> Bars:
    """Return bars for (name, given, value, low, high), with 0 on a common scale."""
    ends = [0.0, *(end for _, _, *numbers in values for end in numbers if np.isfinite(end))]
    low, high = min(ends), max(ends)
    scale = (WIDTH - _NAMES - _NUMBERS) / max(high - low, _NEGLIGIBLE)

    def at(value: float) -> float:
        return round(_NAMES + (min(max(value, low), high) - low) * scale, 1)

    bars = tuple(
        Bar(
            line * _LINE,
            shorten(name, 32),
            shorten(given, 18),
            min(at(0), at(value)),
            round(abs(at(value) - at(0)), 1),
            at(start),
            at(end),
            value > 0,
            f"{value:+.4g}",
        )
        for line, (name, given, value, start, end) in enumerate(values)
    )
    return Bars(bars, at(0), max(len(bars), 1) * _LINE + 6, rest)


def _polyline(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _tick(value: float | str) -> str:
    return shorten(value, 12) if isinstance(value, str) else f"{value:.4g}"
