"""What the data of a release looked like, written with its version: the reference that live requests are held against.

`write_profile` takes the evidence of a deployment and gives profile.json beside it; nothing for drawn rows, which look like nobody's data.
How much the model uses each feature is measured on the proven model itself, as far as the time allows; what was not measured counts as
used. Raises what opening the model raises; rows that it does not take when they are mixed leave the use unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fairlead.app.evidence import Evidence
from fairlead.app.wiring import House
from fairlead.core.dataset import Dataset
from fairlead.core.deciding import labelled
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.ports import Engine, Progress
from fairlead.core.profile import FeatureKind, FeatureProfile, Profile
from fairlead.engines.opening import open_engine
from fairlead.errors import EnvironmentalError, InputError, ServingError
from fairlead.monitor.drift.features import answer_features, input_features
from fairlead.monitor.drift.joint import embed
from fairlead.monitor.drift.reference import profile_column
from fairlead.stores.document import dump
from fairlead.verify.run_rows import count_rows, run_in_pieces

PROFILE = "profile.json"
_USE_ROWS = 512  # rows whose answers are compared
_ANSWERED_ROWS = 20_000  # rows whose answers are looked at
_FEWEST_ROWS = 32
_TIME_S = 10.0  # for the answers, and again for what they hang on
_EMBEDDED_ROWS = 20_000
Run = Callable[[Tensors], Mapping[str, Array]]


def write_profile(evidence: Evidence, folder: Path, house: House, progress: Progress) -> dict[str, Path]:
    """Write the profile of the release's data into `folder` and return name -> path; empty where there is nothing to write."""
    if evidence.rows.is_synthetic:
        return {}
    progress.step("profile: what the data looks like, and which inputs the model uses")
    proof = evidence.proof
    engine = open_engine(
        proof.candidate.engine,
        proof.model.path,
        evidence.conversion.interface,
        thread_count=proof.candidate.thread_count,
        sandbox=house.sandbox,
        session=proof.candidate.session,
    )
    try:
        profile = profile_of(evidence.rows, engine, seed=house.settings.seed)
    finally:
        engine.close()
    path = folder / PROFILE
    path.write_bytes(dump(profile))
    progress.done(describe(profile))
    return {PROFILE: path}


def profile_of(rows: Dataset, engine: Engine, *, seed: int, time_s: float = _TIME_S) -> Profile:
    """Return the profile of `rows` and of what `engine` answers to them."""
    interface = engine.interface
    outputs = run_in_pieces(engine, spread(rows.inputs, affordable_rows(engine, rows.inputs, time_s)))
    answers = answer_features(interface, outputs)
    inputs = input_features(interface, rows.inputs)
    features = tuple(profile_column(name, one.values, input_name=one.input, part=one.part, kind=one.kind) for name, one in inputs.items())
    uses, shuffled = measure_use(features, rows.inputs, engine, seed=seed, time_s=time_s)
    features = tuple(replace(feature, use=uses.get(feature.name)) for feature in features)
    taken = slice(0, _EMBEDDED_ROWS)
    return Profile(
        features=features,
        predictions=tuple(profile_column(name, one.values, input_name=one.input, kind=one.kind) for name, one in answers.items()),
        row_count=rows.rows,
        source=rows.description,
        digest=rows.digest,
        shuffled_change=shuffled,
        embedding=embed(features, {name: one.values[taken] for name, one in inputs.items()}, seed=seed),
    )


def affordable_rows(engine: Engine, inputs: Tensors, time_s: float) -> int:
    """Return how many rows the engine answers in that time, as far as a few of them tell: from 32 to 20,000."""
    few = {name: tensor[:_FEWEST_ROWS] for name, tensor in inputs.items()}
    started = time.perf_counter()
    run_in_pieces(engine, few)
    row_s = (time.perf_counter() - started) / count_rows(few)
    return int(min(max(time_s / max(row_s, 1e-9), _FEWEST_ROWS), _ANSWERED_ROWS))


def spread(inputs: Tensors, count: int) -> Tensors:
    """Return `count` rows from all over the data, or all of them: a file may be in an order."""
    rows = count_rows(inputs)
    if rows <= count:
        return inputs
    places = np.linspace(0, rows - 1, count).astype(np.int64)
    return {name: tensor[places] for name, tensor in inputs.items()}


def measure_use(
    features: tuple[FeatureProfile, ...], inputs: Tensors, engine: Engine, *, seed: int, time_s: float = _TIME_S
) -> tuple[dict[str, float], float | None]:
    """Return how much of the answers hangs on each feature that is a column, and how much answers change when whole rows are shuffled.

    A feature's values are handed on to the next row of a random order, so that none keeps its own; the model answers again, and the mean
    change of its scores (labels: how many differ) is divided by that between the rows themselves. This is permutation importance without
    labels: Breiman, "Random forests", Machine Learning 45 (2001); Fisher, Rudin, Dominici, "All models are wrong, but many are useful",
    JMLR 20 (2019). Features that the time does not reach are left out, and those with one value in all these rows; so are summaries: nobody
    can change an image's sharpness alone.
    """
    order = np.random.default_rng(seed).permutation(count_rows(inputs))
    if len(order) < 2:
        return {}, None
    try:
        order = order[: min(affordable_rows(engine, inputs, time_s / (len(features) + 2)), _USE_ROWS)]
        rows = {name: tensor[order] for name, tensor in inputs.items()}
        before = run_in_pieces(engine, rows)
        whole = answer_change(engine.interface, before, {name: np.roll(tensor, 1, axis=0) for name, tensor in before.items()})
        if not whole > 0:
            return {}, 0.0
        return _uses(features, rows, before, whole, engine, time_s), decision_change(engine.interface, before)
    except (InputError, EnvironmentalError, ServingError):
        return {}, None


def _uses(
    features: tuple[FeatureProfile, ...], rows: Tensors, before: Tensors, whole: float, engine: Engine, time_s: float
) -> dict[str, float]:
    found: dict[str, float] = {}
    until = time.monotonic() + time_s
    for feature in features:
        if feature.kind is FeatureKind.SUMMARY:
            continue
        if time.monotonic() > until:
            break
        tensor = rows[feature.input].copy()
        flat = tensor.reshape(len(tensor), -1)
        place = int(feature.part or 0)
        if _is_constant(flat[:, place]):  # nobody knows what another value would do
            continue
        flat[:, place] = np.roll(flat[:, place], 1)
        after = run_in_pieces(engine, {**rows, feature.input: flat.reshape(tensor.shape)})
        found[feature.name] = min(answer_change(engine.interface, before, after) / whole, 1.0)
    return found


def _is_constant(values: Array) -> bool:
    return bool(np.array_equal(values, np.full_like(values, values[0]), equal_nan=values.dtype.kind == "f"))


@np.errstate(over="ignore", invalid="ignore")  # sums of numbers near the largest double are infinite, and told so
def answer_change(interface: Interface, before: Tensors, after: Tensors) -> float:
    """Return the mean change of an answer, in a unit of its own: of the scores or the number that decides, or the share of other labels."""
    rule = interface.decision
    name = interface.outputs[0].name if rule is None else rule.scores or rule.output
    one, two = before[name], after[name]
    if one.dtype.kind in "fiub" and (rule is None or rule.kind is not DecisionKind.LABEL or bool(rule.scores)):
        moved = np.abs(np.asarray(two, np.float64) - np.asarray(one, np.float64)).reshape(len(one), -1).sum(axis=1)
        return float(np.nanmean(moved)) if not np.isnan(moved).all() else 0.0
    return float((one.reshape(len(one), -1) != two.reshape(len(two), -1)).any(axis=1).mean())


def decision_change(interface: Interface, outputs: Tensors) -> float | None:
    """Return how much answers differ from row to row: the share of other decisions, or the mean distance in standard deviations."""
    rule = interface.decision
    if rule is None:
        return None
    if rule.kind is DecisionKind.VALUE:
        values = np.asarray(outputs[rule.output], np.float64).reshape(-1)
        spread = float(np.nanstd(values))
        return float(np.nanmean(np.abs(values - np.roll(values, 1)))) / spread if spread > 0 else 0.0
    decisions = labelled(interface, outputs)
    return float((decisions != np.roll(decisions, 1, axis=0)).mean())


def describe(profile: Profile) -> str:
    """Say in a line what is in a profile."""
    known = [feature for feature in profile.features if feature.use is not None]
    used = sorted((feature for feature in known if feature.is_used), key=lambda item: -(item.use or 0.0))
    said = f"{len(profile.features)} features of {profile.row_count:,} rows"
    if not known:
        return said
    first = ", ".join(f"{feature.name} {feature.use:.0%}" for feature in used[:3])
    return f"{said}; the model uses {len(used)} of {len(known)}" + (f", most of all {first}" if first else "")
