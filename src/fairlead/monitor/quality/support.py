"""Where the rows of a release lay, so that live rows that are unlike all of them are known. Pure.

`learn_support` takes flat inputs; `distances` gives how far rows lie from them. The distance is that of a factor model: along the
directions in which the release's rows vary most, in units of how much they do there (Mahalanobis 1936), plus what is left of a row outside
of them, in units of what is usually left (Tipping and Bishop, "Probabilistic principal component analysis", Journal of the Royal
Statistical Society B 61, 1999). The limit is taken from rows that the directions were not learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.observation_log import INPUT, columns_of, is_text, row_width
from fairlead.core.outcome import Support
from fairlead.core.summary import NUMBER_SUMMARIES, summaries

AXIS_LIMIT = 16
_ROWS_MIN, _ROWS_MOST = 100, 5_000
_EXPLAINED = 0.95
QUANTILE = 0.99
_FAR = 8.0  # in units of a number's own scale


def support_columns(interface: Interface) -> tuple[str, ...]:
    """Return the columns of a log that hold what `flat_inputs` gives, in its order: values of a table, summaries of anything else."""
    return tuple(name for spec in _numeric(interface) for name in (columns_of(spec, INPUT) if _is_table(spec) else _summary_columns(spec)))


def flat_inputs(interface: Interface, inputs: Tensors) -> Array | None:
    """Return the numeric inputs as (rows, numbers); None where there are none."""
    parts = []
    for spec in _numeric(interface):
        tensor = np.asarray(inputs[spec.name])
        if _is_table(spec):
            parts.append(tensor.reshape(len(tensor), -1).astype(np.float64))
        else:
            found = summaries(tensor)
            parts.append(np.stack([found[name] for name in NUMBER_SUMMARIES], axis=1))
    return np.concatenate(parts, axis=1) if parts else None


def _numeric(interface: Interface) -> tuple[TensorSpec, ...]:
    return tuple(spec for spec in interface.inputs if not is_text(spec))


def _is_table(spec: TensorSpec) -> bool:
    return len(columns_of(spec, INPUT)) == row_width(spec)


def _summary_columns(spec: TensorSpec) -> tuple[str, ...]:
    return tuple(f"{INPUT}{spec.name}.{name}" for name in NUMBER_SUMMARIES)


def learn_support(rows: Array, *, seed: int = 0) -> Support | None:
    """Return where `rows` (rows, numbers) lie; None for too few of them. Half of the rows say how far the others reach."""
    if len(rows) < _ROWS_MIN:
        return None
    known = np.where(np.isfinite(rows), rows, np.nan)
    order = np.random.default_rng(seed).permutation(len(rows))[:_ROWS_MOST]
    usual = np.nan_to_num(np.nanmedian(np.where(np.isnan(known).all(axis=0), 0.0, known), axis=0))
    rows = np.where(np.isnan(known), usual, known)
    learned, held = rows[order[: len(order) // 2]], rows[order[len(order) // 2 :]]
    centre, scale = learned.mean(axis=0), learned.std(axis=0)
    scale = np.where(scale > 1e-9 * (1.0 + np.abs(centre)), scale, _least(scale, centre))
    around = np.clip((learned - centre) / scale, -_FAR, _FAR)
    _, lengths, axes = np.linalg.svd(around, full_matrices=False)
    power = lengths**2 / max(float((lengths**2).sum()), 1e-300)
    needed = int(np.searchsorted(np.cumsum(power), _EXPLAINED)) + 1
    count = min(needed, AXIS_LIMIT, max(len(learned) // 10, 1), len(lengths))
    spread = np.maximum(lengths[:count] / np.sqrt(len(learned)), 1e-6)
    found = Support(_numbers(centre), _numbers(scale), tuple(map(_numbers, axes[:count])), _numbers(spread), 1.0, 0.0, QUANTILE)
    rest = _parts(found, held)[1]
    found = Support(found.centre, found.scale, found.axes, found.spread, max(float(rest.mean()), 1e-9), 0.0, QUANTILE)
    limit = float(np.quantile(distances(found, held), QUANTILE))
    return Support(found.centre, found.scale, found.axes, found.spread, found.rest, limit, QUANTILE)


def distances(support: Support, rows: Array) -> Array:
    """Return how far each row lies from the release's, (rows,): about 2 for a usual one."""
    along, rest = _parts(support, rows)
    return np.asarray((along**2).mean(axis=1) + rest / support.rest)


def places(support: Support, rows: Array, count: int) -> Array:
    """Return where rows lie along the first `count` axes, in units of how far the release's rows usually do, and in the last column how far
    outside of all axes, (rows, axes + 1): the logarithm of that as a multiple of what is usual. What is missing in a row, or is noise,
    shows there and nowhere else.
    """
    along, rest = _parts(support, rows)
    outside = np.log(np.maximum(rest / support.rest, 1e-6))
    return np.concatenate([along[:, :count], np.clip(outside, -_FAR, _FAR)[:, None]], axis=1)


def _parts(support: Support, rows: Array) -> tuple[Array, Array]:
    """Return rows along the axes, in units of their spread, and what is left of each, per number, (rows,); single numbers far out count as
    far, not as infinitely far.
    """
    centre = np.asarray(support.centre)
    around = (np.where(np.isfinite(rows), rows, centre) - centre) / np.asarray(support.scale)  # what is missing is as usual
    around = np.clip(around, -_FAR, _FAR)
    along = around @ np.asarray(support.axes).T
    left = np.maximum((around**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
    return along / np.asarray(support.spread), left / around.shape[1]


def _least(scale: Array, centre: Array) -> Array:
    """Return the scale of numbers that never vary: the smallest of those that do, so that a value that is not theirs stands out."""
    varying = scale[scale > 1e-9 * (1.0 + np.abs(centre))]
    return np.full(len(scale), float(np.median(varying)) if len(varying) else 1.0)


def _numbers(values: Sequence[float] | Array) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
