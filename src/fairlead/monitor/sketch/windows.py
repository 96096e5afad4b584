"""Windows of one version merged into longer ones. Pure.

What is counted is then counted once and in any order; quantiles, distinct and frequent values keep the error that they state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from fairlead.core.sketch import FeatureSketch
from fairlead.core.sketch_window import JointSketch, StrangeRow, WindowSketch
from fairlead.monitor.sketch.update import merge

SHOWN_OUTLIERS = 10


def merged(windows: Sequence[WindowSketch]) -> WindowSketch:
    """Return several windows, one at least, as one; raises ValueError unless they were counted against the same profile."""
    if len(windows) == 1:
        return windows[0]
    features: dict[str, FeatureSketch] = {}
    for window in windows:
        for name, one in window.features.items():
            features[name] = merge(features[name], one) if name in features else one
    joints = [window.joint for window in windows if window.joint is not None]
    return WindowSketch(
        min(window.start for window in windows),
        max(window.end for window in windows),
        sum(window.rows for window in windows),
        sum(window.weight for window in windows),
        features,
        functools.reduce(JointSketch.__add__, joints) if joints else None,
        sum(window.strange_rows for window in windows),
        strangest(row for window in windows for row in window.strange),
        frozenset().union(*(window.sources for window in windows)),
    )


def strangest(rows: Iterable[StrangeRow]) -> tuple[StrangeRow, ...]:
    """Return the rows with the most strange features, of equals the newest."""
    return tuple(sorted(rows, key=lambda row: (-len(row.features), -row.at))[:SHOWN_OUTLIERS])
