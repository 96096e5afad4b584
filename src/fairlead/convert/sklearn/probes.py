"""Rows that sit on a model's own thresholds, and one unit in the last place to each side: where a careless conversion shows.

Takes a fitted estimator and its interface, gives input tensors. For a sample of the split nodes of all trees a row is built that reaches
the node; its feature is set to the threshold, to the neighbouring doubles, and to the neighbouring singles. Values are mapped back
through scalers and column choices in front of the trees; where that is not possible (a projection) the node is left out. Bin edges,
known and unknown categories, missing values and texts in several scripts are added. Deterministic: the seed is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.convert.sklearn.boosters import ensemble_of, is_booster
from fairlead.convert.sklearn.composition import selections
from fairlead.convert.sklearn.ensemble_nodes import walk_of
from fairlead.convert.sklearn.histogram_trees import histogram_nodes, histogram_trees
from fairlead.convert.sklearn.trees import Nodes, nodes_of
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.estimator_rows import DOCUMENT_INPUT

NODE_LIMIT = 1000
_ROW_LIMIT = 8000
_BASE_ROWS = 64
_SEED = 20_260_922
_SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
_STORED_ROWS = ("support_vectors_", "_fit_X", "theta_", "means_", "centroids_", "X_train_", "X_fit_")
_SELECTORS_ATTRIBUTE = "get_support"
_TEXTS = (
    "", " ", "!?", "a", "ÄRGER Straße", "İstanbul ı", "Ǆungla ﬀ", "naïve café", "cafe\u0301", "日本語 テキスト", "x² ① ٣", "ΑΒΓ Ωmega",
    "tab\tnew\nline", "under_score it's", "00 007", "😀 ok", "\u00a0non\u2003breaking", "ПРИВЕТ мир", "مرحبا",
)  # fmt: skip


@dataclass(frozen=True)
class _Source:
    """Where a feature comes from: an input column, and what turns the feature's value back into the column's."""

    column: int
    back: Callable[[Array], Array]


Origins = list[_Source | None]


@dataclass
class _Found:
    """What the walk collects: trees with the origins of their features, and values of note per input column."""

    trees: list[tuple[Nodes, Origins, bool]] = field(default_factory=list)
    values: dict[int, set[float]] = field(default_factory=dict)
    texts: dict[int, set[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    examples: list[tuple[Array, Origins]] = field(default_factory=list)
    has_missing: set[int] = field(default_factory=set)


def probe_rows(estimator: Any, interface: Interface) -> dict[str, Array]:
    """Return at least 64 rows as the interface's inputs."""
    generator = np.random.default_rng(_SEED)
    width = sum(int(spec.shape[1] or 1) for spec in interface.inputs)
    found = _Found()
    _walk(estimator, [_Source(column, _same) for column in range(width)], found)
    base = _base(found, width, generator)
    numbers = np.vstack([base, *_tree_rows(found, base, generator), _value_rows(found, base)])[:_ROW_LIMIT]
    return _tensors(found, interface, numbers, generator)


def _same(values: Array) -> Array:
    return values


def _walk(estimator: Any, origins: Origins, found: _Found) -> None:
    """Follow a predictor down to its trees."""
    kind = type(estimator).__name__
    if kind == "Pipeline":
        for _, step in estimator.steps[:-1]:
            origins = _through(step, origins, found)
        _walk(estimator.steps[-1][1], origins, found)
    elif kind.startswith("HistGradientBoosting"):
        _histogram(estimator, origins, found)
    elif is_booster(estimator):
        _boosted(ensemble_of(estimator), origins, found)
    elif hasattr(estimator, "tree_"):
        found.trees.append((nodes_of(estimator.tree_), origins, False))
    elif hasattr(estimator, "estimators_"):
        features = getattr(estimator, "estimators_features_", None)
        for number, member in enumerate(np.ravel(np.array(estimator.estimators_, dtype=object))):
            chosen = origins if features is None else [origins[int(index)] for index in features[number]]
            _walk(member, chosen, found)
    else:
        found.examples.append((_stored_rows(estimator, len(origins)), origins))
        _through_wrappers(estimator, origins, found)


def _stored_rows(estimator: Any, width: int) -> Array:
    """Rows that a model keeps (support vectors, neighbours, class means), at most 32; drawn ones of several sizes where it keeps none."""
    generator = np.random.default_rng(_SEED)
    for name in _STORED_ROWS:
        stored: Any = getattr(estimator, name, None)
        rows = stored.toarray() if hasattr(stored, "toarray") else stored
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == width and rows.dtype.kind == "f":
            return rows[generator.permutation(len(rows))[:32]]
    return generator.normal(size=(32, width)) * 10.0 ** generator.uniform(-1, 2, size=(32, 1))


def _through_wrappers(estimator: Any, origins: Origins, found: _Found) -> None:
    for name in ("best_estimator_", "regressor_"):
        if hasattr(estimator, name):
            _walk(getattr(estimator, name), origins, found)
    for member in getattr(estimator, "calibrated_classifiers_", ()):
        _walk(member.estimator, origins, found)


def _histogram(estimator: Any, origins: Origins, found: _Found) -> None:
    categories = getattr(estimator, "is_categorical_", None)
    if categories is not None:
        preprocessor = estimator._preprocessor  # noqa: SLF001 - no public name
        _note_categories(preprocessor.named_transformers_["encoder"], _chosen(origins, categories), found)
        blank: Origins = [None] * int(np.sum(categories))
        origins = [*blank, *_chosen(origins, ~np.asarray(categories))]
    found.has_missing.update(source.column for source in origins if source is not None)
    found.trees.extend((histogram_nodes(predictor), origins, True) for predictor in histogram_trees(estimator))


def _boosted(ensemble: TreeEnsemble, origins: Origins, found: _Found) -> None:
    """A booster's trees; of splits on sets every category, its neighbours and numbers that are none."""
    found.has_missing.update(source.column for source in origins if source is not None)
    walk = walk_of(ensemble)
    blank: Origins = [None] * len(walk.sets)
    reached = [*origins, *(origins[feature] for feature in walk.zeros), *blank]
    found.trees.extend((nodes, reached, ensemble.compare_dtype is DType.FP64) for nodes in walk.trees)
    for node in np.flatnonzero(ensemble.splits == Split.CATEGORY):
        source = origins[int(ensemble.features[node])]
        if source is not None:
            known = ensemble.category_values[ensemble.category_offsets[node] : ensemble.category_offsets[node + 1]]
            marks = [*map(float, known), float(known.max(initial=0)) + 1, -1.0, 0.5]
            found.values.setdefault(source.column, set()).update(float(value) for value in source.back(np.array(marks)))


def _chosen(origins: Origins, mask: Sequence[bool] | Array) -> Origins:
    return [origins[int(index)] for index in np.flatnonzero(mask)]


def _through(step: Any, origins: Origins, found: _Found) -> Origins:
    """Return the origins of a transformer's output columns; None where a value cannot be mapped back."""
    kind = type(step).__name__
    if step is None or isinstance(step, str):
        return origins
    if kind == "Pipeline":
        for _, inner in step.steps:
            origins = _through(inner, origins, found)
        return origins
    if kind == "ColumnTransformer":
        return [origin for _, part, indices, _ in selections(step) for origin in _through(part, [origins[i] for i in indices], found)]
    if kind == "FeatureUnion":
        return [origin for _, part in step.transformer_list for origin in _through(part, origins, found)]
    if kind in _SCALERS:
        return [None if source is None else _scaled(step, position, source) for position, source in enumerate(origins)]
    if kind == "SimpleImputer":
        return _imputed(step, origins, found)
    if hasattr(step, _SELECTORS_ATTRIBUTE) and hasattr(step, "n_features_in_"):
        return _chosen(origins, step.get_support())
    _note(step, origins, found)
    return [None] * _width(step)


def _width(step: Any) -> int:
    """How many columns a fitted transformer gives; 0 where it does not say (then nothing behind it is probed by value)."""
    if hasattr(step, "vocabulary_"):
        return len(step.vocabulary_)
    try:
        return len(step.get_feature_names_out())
    except (AttributeError, ValueError, TypeError):
        return 0


def _scaled(step: Any, position: int, source: _Source) -> _Source:
    """A column's inverse transformation with scikit-learn's own operations: its method, called for each node, takes seconds in all."""
    kind = type(step).__name__
    factor = 1.0 if step.scale_ is None else float(step.scale_[position])
    if kind == "MinMaxScaler":
        start = float(step.min_[position])
        return _Source(source.column, lambda values: source.back((values - start) / factor))
    middle = step.mean_ if kind == "StandardScaler" and step.with_mean else getattr(step, "center_", None)
    offset = 0.0 if middle is None else float(middle[position])
    return _Source(source.column, lambda values: source.back(values * factor + offset))


def _imputed(step: Any, origins: Origins, found: _Found) -> Origins:
    kept: Origins = []
    for source, statistic in zip(origins, step.statistics_, strict=True):
        is_text = isinstance(statistic, str)
        if source is not None and not is_text:
            found.has_missing.add(source.column)
        if is_text or step.keep_empty_features or not np.isnan(float(statistic)):
            kept.append(source)
    indicators = len(step.indicator_.features_) if step.add_indicator and step.indicator_ is not None else 0
    return [*kept, *([None] * indicators)]


def _note(step: Any, origins: Origins, found: _Found) -> None:
    """Remember bin edges, categories, quantiles and vocabulary."""
    if hasattr(step, "categories_"):
        _note_categories(step, origins, found)
    if hasattr(step, "vocabulary_"):
        found.words.extend(str(word) for word in step.vocabulary_)
    edges = getattr(step, "bin_edges_", None)
    quantiles = getattr(step, "quantiles_", None)
    for position, source in enumerate(origins):
        marks = edges[position] if edges is not None else quantiles[:, position] if quantiles is not None else ()
        if source is not None and len(marks):
            found.values.setdefault(source.column, set()).update(float(value) for value in source.back(np.asarray(marks, dtype=np.float64)))


def _note_categories(encoder: Any, origins: Origins, found: _Found) -> None:
    is_strict = getattr(encoder, "handle_unknown", "ignore") == "error"
    for source, known in zip(origins, encoder.categories_, strict=True):
        if source is None:
            continue
        texts = {category for category in known if isinstance(category, str)}
        numbers = {float(category) for category in known if not isinstance(category, str) and category is not None}
        if texts:
            found.texts.setdefault(source.column, set()).update(texts if is_strict else {*texts, "unseen", "ungesehen é", ""})
        finite = {number for number in numbers if np.isfinite(number)}
        found.values.setdefault(source.column, set()).update(finite if is_strict or not finite else {*finite, max(finite) + 1, 0.5})
        if numbers - finite:
            found.has_missing.add(source.column)


def _base(found: _Found, width: int, generator: np.random.Generator) -> Array:
    """Ordinary rows: per column values around its thresholds, or around zero."""
    base = generator.normal(size=(_BASE_ROWS, width))
    marks: dict[int, list[float]] = {column: sorted(values) for column, values in found.values.items()}
    for nodes, origins, _ in found.trees[:200]:
        for node in np.flatnonzero(nodes.left != -1)[:50]:
            source = origins[int(nodes.feature[node])] if nodes.feature[node] < len(origins) else None
            if source is not None and source.column not in found.values:
                marks.setdefault(source.column, []).append(float(source.back(np.array([nodes.threshold[node]]))[0]))
    for column, values in marks.items():
        finite = [value for value in values if np.isfinite(value)]
        if finite:
            base[:, column] = generator.choice(finite, size=_BASE_ROWS)
    return np.vstack([base, *(_example_rows(rows, origins, base) for rows, origins in found.examples[:8])])


def _example_rows(rows: Array, origins: Origins, base: Array) -> Array:
    """A model's example rows, mapped back to input columns."""
    mapped = base[: len(rows)].copy()
    for feature, source in enumerate(origins[: rows.shape[1]]):
        if source is not None:
            mapped[:, source.column] = source.back(np.asarray(rows[:, feature], dtype=np.float64))
    return mapped


def _tree_rows(found: _Found, base: Array, generator: np.random.Generator) -> list[Array]:
    splits = [(number, int(node)) for number, (nodes, _, _) in enumerate(found.trees) for node in np.flatnonzero(nodes.left != -1)]
    if len(splits) > NODE_LIMIT:
        splits = [splits[index] for index in np.sort(generator.choice(len(splits), NODE_LIMIT, replace=False))]
    rows = [_around(found, number, node, base[position % _BASE_ROWS]) for position, (number, node) in enumerate(splits)]
    return [row for row in rows if len(row)]


def _around(found: _Found, number: int, node: int, base: Array) -> Array:
    """Rows that reach `node` and sit on its threshold and beside it; none where the feature cannot be set."""
    nodes, origins, is_double = found.trees[number]
    feature = int(nodes.feature[node])
    source = origins[feature] if feature < len(origins) else None
    threshold = float(nodes.threshold[node])
    if source is None or not np.isfinite(threshold) or abs(threshold) > 1e30:
        return np.empty((0, len(base)))
    row = base.copy()
    for other, (low, high) in _path(nodes, node).items():
        origin = origins[other] if other < len(origins) else None
        if origin is not None and other != feature:
            row[origin.column] = origin.back(np.array([_between(low, high)]))[0]
    values = source.back(_neighbours(threshold, is_double=is_double))
    exact = np.concatenate([values, np.nextafter(values[:1], np.inf), np.nextafter(values[:1], -np.inf)])
    rows = np.repeat(row[np.newaxis], len(exact), axis=0)
    rows[:, source.column] = exact
    return rows


def _neighbours(threshold: float, *, is_double: bool) -> Array:
    """The threshold, the doubles beside it, and (for trees that round to single) the singles beside it and where rounding turns."""
    beside = [threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf)]
    if not is_double:
        single = np.float32(threshold)
        up, down = np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))
        beside += [float(single), float(up), float(down), (float(single) + float(up)) / 2, (float(single) + float(down)) / 2]
    return np.array(beside)


def _path(nodes: Nodes, node: int) -> dict[int, tuple[float, float]]:
    """For each feature on the way from the root to `node`: the interval (low, high] that leads there."""
    parents = {
        int(child): (int(parent), side) for side, children in ((0, nodes.left), (1, nodes.right)) for parent, child in _children(children)
    }
    bounds: dict[int, tuple[float, float]] = {}
    while node in parents:
        node, side = parents[node]
        feature, threshold = int(nodes.feature[node]), float(nodes.threshold[node])
        low, high = bounds.get(feature, (-np.inf, np.inf))
        bounds[feature] = (max(low, threshold), high) if side else (low, min(high, threshold))
    return bounds


def _children(children: Array) -> list[tuple[int, int]]:
    return [(parent, int(child)) for parent, child in enumerate(children) if child >= 0]


def _between(low: float, high: float) -> float:
    if np.isfinite(low) and np.isfinite(high):
        return low + (high - low) / 2
    if np.isfinite(low):
        return low + abs(low) * 0.1 + 1.0
    return high - abs(high) * 0.1 - 1.0 if np.isfinite(high) else 0.0


def _value_rows(found: _Found, base: Array) -> Array:
    """Rows with each noted value, its neighbours, and NaN where the model accepts it."""
    rows = []
    for column, values in found.values.items():
        for position, value in enumerate(sorted(values)[:200]):
            for near in (value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf)):
                row = base[position % _BASE_ROWS].copy()
                row[column] = near
                rows.append(row)
    for column in sorted(found.has_missing):
        missing = base[:4].copy()
        missing[:, column] = np.nan
        rows.extend(missing)
    return np.array(rows).reshape(-1, base.shape[1])


def _tensors(found: _Found, interface: Interface, numbers: Array, generator: np.random.Generator) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    offset = 0
    for spec in interface.inputs:
        width = int(spec.shape[1] or 1)
        block = numbers[:, offset : offset + width].copy()
        if spec.dtype is DType.BYTES:
            is_documents = spec.name == DOCUMENT_INPUT and not spec.columns
            block = np.empty(block.shape, dtype=object)
            for column in range(width):
                known = found.texts.get(offset + column)
                block[:, column] = _texts(found, None if is_documents else known, len(block), generator)
        tensors[spec.name] = block
        offset += width
    return tensors


def _texts(found: _Found, known: set[str] | None, count: int, generator: np.random.Generator) -> list[str]:
    if known is not None:
        pool = sorted(known)
        return [pool[index] for index in generator.integers(len(pool), size=count)]
    words = [*found.words[:2000], *_TEXTS]
    lengths = generator.integers(1, 12, size=max(0, count - len(_TEXTS)))
    mixed = [_cased(" ".join(words[index] for index in generator.integers(len(words), size=length)), length) for length in lengths]
    return [*_TEXTS, *mixed][:count]


def _cased(text: str, length: int) -> str:
    return text.upper() if length % 3 == 0 else text
