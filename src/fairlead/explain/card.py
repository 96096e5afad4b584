"""What a version is, for a person who has to decide whether to use it: the model card.

Takes core values; gives Markdown or a page (sections after Mitchell et al. 2019, doi 10.1145/3287560.3287596). States only what was
measured or read; what Fairlead cannot know (purpose, ethics, training data) is left for people to add, and said to be missing. Every name
that comes from a model or a data file is escaped. Raises OSError where it cannot write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.profile import FeatureProfile, Profile
from fairlead.core.strategy import Strategy
from fairlead.core.verdict import Verdict, decision_sentence
from fairlead.explain.card_blocks import Block, Grid, Heading, Items, Sentence, as_markdown, listed, plain
from fairlead.explain.page import make_environment
from fairlead.explain.slices import Slice

_LISTED = 20  # columns or labels that are worth reading on a card
# What only people know of a model, by the tag that they write it in: `fairlead tag digits:4 card.purpose="..."`.
WRITTEN: Mapping[str, str] = {
    "purpose": "What it is for",
    "users": "Who uses it",
    "out-of-scope": "What it must not be used for",
    "training-data": "What it was trained on",
    "risks": "Whom its errors hurt",
    "owner": "Who answers for it",
}
WRITTEN_PREFIX = "card."


@dataclass(frozen=True)
class CardFacts:
    """What the card tells of. `strategy` is how it is led into production, `profile` what its data looked like, where they are known;
    `standing` are sentences on where it stands now, `watched` on how it is watched, `explained` on how its answers are explained.
    `written` is what people say of it, by the keys of WRITTEN; `slices` are measured in parts of the rows that `slice_source` names.
    """

    name: str
    interface: Interface
    verdict: Verdict
    plan: Plan
    lineage: Lineage
    strategy: Strategy | None = None
    profile: Profile | None = None
    standing: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    explained: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    slice_source: str = ""


def write_card(name: str, interface: Interface, verdict: Verdict, plan: Plan, lineage: Lineage, path: Path) -> None:
    """Write the model card of `name` to `path`, as Markdown."""
    path.write_text(card_markdown(CardFacts(name, interface, verdict, plan, lineage)), encoding="utf-8")


def card_markdown(facts: CardFacts) -> str:
    """Return the card as Markdown."""
    return as_markdown(blocks_of(facts))


def card_page(facts: CardFacts) -> str:
    """Return the card as one HTML page without script or address."""
    blocks = [(type(block).__name__.lower(), block) for block in blocks_of(facts)]
    return make_environment().get_template("card.html.j2").render(name=facts.name, blocks=blocks)


def blocks_of(facts: CardFacts) -> tuple[Block, ...]:
    """Return what the card says, in order."""
    verdict = facts.verdict
    sections = (
        _model(facts),
        _written(facts.written),
        _said("Where it stands", facts.standing),
        _promise(verdict, facts.plan),
        _faithful(verdict),
        _quality(verdict),
        _slices(facts),
        _cost(verdict),
        _data(facts.profile),
        _explained(facts),
        _said("How it is watched", facts.watched),
        _led(facts.strategy),
        _limits(facts),
        _origin(facts),
    )
    return tuple(block for section in sections for block in section)


def _model(facts: CardFacts) -> Iterator[Block]:
    interface, lineage = facts.interface, facts.lineage
    yield Heading(plain(facts.name), 1)
    yield Sentence(f"Made from `{plain(lineage.source_name)}` (sha256:{lineage.source_digest}).")
    yield Heading("What it takes and gives")
    said = [f"Task: {interface.task.value}"] if interface.task is not None else []
    said += [f"Takes {_tensor(spec)}" for spec in interface.inputs]
    said += [f"Gives {_tensor(spec)}" for spec in interface.outputs]
    if interface.labels:
        said.append(f"Labels: {listed([str(label) for label in interface.labels], _LISTED)}")
    if interface.decision is not None:
        said.append(f"Decides by {interface.decision.kind.value} of `{plain(interface.decision.output)}`")
    yield Items(tuple(said))


def _written(written: Mapping[str, str]) -> Iterator[Block]:
    said = tuple(f"{title}: {plain(written[key], 1000)}" for key, title in WRITTEN.items() if key in written)
    if said:
        yield Heading("What people say of it")
        yield Items(said)


def _said(title: str, said: tuple[str, ...]) -> Iterator[Block]:
    if said:
        yield Heading(title)
        yield Items(tuple(plain(text, 300) for text in said))


def _promise(verdict: Verdict, plan: Plan) -> Iterator[Block]:
    yield Heading("What it has to keep")
    if not plan.requirements:
        yield Sentence("No requirements were given; only the built-in checks were made.")
    rows = []
    for check in verdict.checks:
        held = "yes" if check.is_met else "no" if check.is_gate else "told, not asked"
        rows.append((f"`{plain(check.name)}`", f"{check.measured:.6g}", check.bound, held))
    yield Grid(("Check", "Measured", "Needed", "Met"), tuple(rows), frozenset({1, 2}))


def _faithful(verdict: Verdict) -> Iterator[Block]:
    yield Heading("Does it decide as the original does")
    yield Sentence(f"Against {plain(verdict.reference, 100)}: {decision_sentence(verdict.parity)}.")
    if verdict.parity.flips:
        rows = []
        for flip in verdict.parity.flips:
            where = f"threshold row {flip.row}" if flip.is_probe else f"{flip.row}"
            rows.append((where, f"`{plain(flip.original, 100)}`", f"`{plain(flip.candidate, 100)}`"))
        yield Grid(("Row", "Original", "This version"), tuple(rows), frozenset({0}))


def _quality(verdict: Verdict) -> Iterator[Block]:
    yield Heading("How well it decides")
    digest = f" (sha256:{verdict.data_digest})" if verdict.data_digest else ""
    yield Sentence(f"Data: {plain(verdict.data_description, 300)}{digest}")
    if not verdict.quality:
        yield Sentence("Not measured: there were no rows with right answers.")
        return
    rows = []
    for one in verdict.quality:
        low, high = one.candidate_interval
        rows.append(
            (f"`{plain(one.metric)}`", f"{one.candidate:.4g}", f"{low:.4g} to {high:.4g}", f"{one.original:.4g}", f"{one.row_count}")
        )
    yield Grid(("Metric", "This version", "95 % interval", "Original", "Rows"), tuple(rows), frozenset({1, 2, 3, 4}))
    found = verdict.calibration
    if found is not None:
        yield Sentence(
            f"Calibration: its probabilities are off by {found.candidate_ece:.4g} on average, the original's by {found.original_ece:.4g} "
            f"(expected calibration error, {found.bin_count} bins, {found.row_count} rows)."
        )


def _slices(facts: CardFacts) -> Iterator[Block]:
    if not facts.slices:
        return
    yield Sentence(f"In parts of {plain(facts.slice_source, 300)}:")
    rows = tuple(
        (f"`{plain(one.column)}`", plain(one.values), f"`{one.metric}`", f"{one.measured:.4g}",
         f"{one.interval[0]:.4g} to {one.interval[1]:.4g}", f"{one.rows}")
        for one in facts.slices
    )  # fmt: skip
    yield Grid(("Column", "Values", "Metric", "This version", "95 % interval", "Rows"), rows, frozenset({3, 4, 5}))


def _cost(verdict: Verdict) -> Iterator[Block]:
    machine = verdict.machine
    yield Heading("What it costs")
    yield Sentence(f"On {plain(machine.processor)}, {machine.core_count} cores, with {plain(verdict.engine, 100)}:")
    said = [
        f"Batch {one.batch}: median {one.p50_ms:.3g} ms, 99th percentile {one.p99_ms:.3g} ms ({one.call_count} calls)"
        for one in verdict.speed
    ]
    said.append(f"File: {verdict.size_bytes / 1e6:.3g} MB; memory at its peak: {verdict.memory_peak_bytes / 1e6:.3g} MB")
    yield Items(tuple(said))


def _data(profile: Profile | None) -> Iterator[Block]:
    if profile is None or not profile.features:
        return
    yield Heading("What its data looked like")
    yield Sentence(f"{profile.row_count:,} rows: {plain(profile.source, 200)}. Live requests are held against them: `fairlead drift`.")
    shown = sorted(profile.features, key=lambda one: -(one.use or 0.0))[:_LISTED]
    rows = tuple((f"`{plain(one.name)}`", _range(one), f"{one.missing}", "" if one.use is None else f"{one.use:.2g}") for one in shown)
    yield Grid(("Feature", "Values", "Missing", "Used"), rows, frozenset({2, 3}))
    if len(profile.features) > len(shown):
        yield Sentence(f"And {len(profile.features) - len(shown)} more.")


def _range(one: FeatureProfile) -> str:
    if one.kind.is_number:
        return f"{one.low:.4g} to {one.high:.4g}, mean {one.mean:.4g}" if one.present else "none"
    return listed(one.categories, 5) or "none"


def _explained(facts: CardFacts) -> Iterator[Block]:
    found = facts.verdict.explanation
    said = [plain(text, 300) for text in facts.explained]
    if found is not None:
        said.append(
            f"It ranks what its answers hang on as the original does: rank correlation {found.mean:.3g} on average, {found.low:.3g} in the "
            f"worst tenth of {found.row_count} rows (occlusion, {found.part_count} parts)"
        )
    if said:
        yield Heading("How its answers are explained")
        yield Items(tuple(said))


def _led(strategy: Strategy | None) -> Iterator[Block]:
    if strategy is None:
        return
    yield Heading("How it is led")
    led = [*([strategy.scenario.value] if strategy.scenario else []), *(need.value for need in strategy.needs)]
    said = [f"For: {', '.join(led)}"] if led else []
    said.append(f"Roll-out: {strategy.rollout.kind.value}; {strategy.retention.version_count} versions are kept")
    yield Items((*said, *(plain(note, 300) for note in strategy.notes)))


def _limits(facts: CardFacts) -> Iterator[Block]:
    verdict = facts.verdict
    yield Heading("What is not known")
    absent = [key for key in WRITTEN if key not in facts.written]
    said = [f"How it behaves on rows unlike the {verdict.row_count} that it was proven with."]
    if absent:
        titles = "; ".join(WRITTEN[key] for key in absent)
        said.insert(0, f"{titles}: not in the file. Say it: `fairlead tag {plain(facts.name)} {WRITTEN_PREFIX}{absent[0]}='...'`")
    yield Items((*said, *(plain(note, 300) for note in verdict.notes)))


def _origin(facts: CardFacts) -> Iterator[Block]:
    yield Heading("How it was made")
    said = []
    for step in facts.lineage.steps:
        versions = ", ".join(f"{tool} {version}" for tool, version in step.versions.items())
        notes = "".join(f"; {plain(note, 300)}" for note in step.notes)
        said.append(f"{step.room} ({plain(step.tool)}{', ' + plain(versions, 200) if versions else ''}){notes}")
    yield Items(tuple(said), is_numbered=True)
    if facts.verdict.command:
        yield Sentence(f"Measured by `{plain(facts.verdict.command, 500)}`, seed {facts.verdict.seed}.")


def _tensor(spec: TensorSpec) -> str:
    columns = f", columns {listed(spec.columns, _LISTED)}" if spec.columns else ""
    return f"`{plain(spec.describe(), 200)}`{columns}"
