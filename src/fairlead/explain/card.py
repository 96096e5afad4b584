"""What a version is, for a person who has to decide whether to use it: the model card.

Takes core values; writes Markdown (sections after Mitchell et al. 2019, doi 10.1145/3287560.3287596). States only what was measured or
read; what Fairlead cannot know (purpose, ethics, training data) is left for people to add, and said to be missing. Every name that comes
from a model or a data file is escaped. Raises OSError where it cannot write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fairlead.core.interface import Interface, TensorSpec, shorten
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.verdict import Verdict, decision_sentence

_LISTED = 20  # columns or labels that are worth reading on a card


def write_card(name: str, interface: Interface, verdict: Verdict, plan: Plan, lineage: Lineage, path: Path) -> None:
    """Write the model card of `name` to `path`."""
    sections = (
        _model(name, interface, lineage),
        _promise(verdict, plan),
        _faithful(verdict),
        _quality(verdict),
        _cost(verdict),
        _limits(verdict),
        _origin(lineage),
    )
    path.write_text("\n".join(line for section in sections for line in section), encoding="utf-8")


def _model(name: str, interface: Interface, lineage: Lineage) -> Iterator[str]:
    yield f"# {name}"
    yield ""
    yield f"Made from `{_plain(lineage.source_name)}` (sha256:{lineage.source_digest})."
    yield ""
    yield "## What it takes and gives"
    yield ""
    if interface.task is not None:
        yield f"- Task: {interface.task.value}"
    yield from (f"- Takes {_tensor(spec)}" for spec in interface.inputs)
    yield from (f"- Gives {_tensor(spec)}" for spec in interface.outputs)
    if interface.labels:
        yield f"- Labels: {_listed(str(label) for label in interface.labels)}"
    if interface.decision is not None:
        yield f"- Decides by {interface.decision.kind.value} of `{_plain(interface.decision.output)}`"
    yield ""


def _promise(verdict: Verdict, plan: Plan) -> Iterator[str]:
    yield "## What it has to keep"
    yield ""
    if not plan.requirements:
        yield "No requirements were given; only the built-in checks were made."
        yield ""
    yield "| Check | Measured | Needed | Met |"
    yield "|---|---:|---:|---|"
    for check in verdict.checks:
        held = "yes" if check.is_met else "no" if check.is_gate else "told, not asked"
        yield f"| `{_plain(check.name)}` | {check.measured:.6g} | {check.bound} | {held} |"
    yield ""


def _faithful(verdict: Verdict) -> Iterator[str]:
    yield "## Does it decide as the original does"
    yield ""
    yield f"Against {_plain(verdict.reference, 100)}: {decision_sentence(verdict.parity)}."
    yield ""
    if not verdict.parity.flips:
        return
    yield "| Row | Original | This version |"
    yield "|---:|---|---|"
    for flip in verdict.parity.flips:
        where = f"threshold row {flip.row}" if flip.is_probe else f"{flip.row}"
        yield f"| {where} | `{_plain(flip.original, 100)}` | `{_plain(flip.candidate, 100)}` |"
    yield ""


def _quality(verdict: Verdict) -> Iterator[str]:
    yield "## How well it decides"
    yield ""
    yield f"Data: {_plain(verdict.data_description, 300)}" + (f" (sha256:{verdict.data_digest})" if verdict.data_digest else "")
    yield ""
    if not verdict.quality:
        yield "Not measured: there were no rows with right answers."
        yield ""
        return
    yield "| Metric | This version | 95 % interval | Original | Rows |"
    yield "|---|---:|---:|---:|---:|"
    for one in verdict.quality:
        low, high = one.candidate_interval
        yield f"| `{_plain(one.metric)}` | {one.candidate:.4g} | {low:.4g} to {high:.4g} | {one.original:.4g} | {one.row_count} |"
    yield ""
    found = verdict.calibration
    if found is not None:
        yield (
            f"Calibration: its probabilities are off by {found.candidate_ece:.4g} on average, the original's by {found.original_ece:.4g} "
            f"(expected calibration error, {found.bin_count} bins, {found.row_count} rows)."
        )
        yield ""


def _cost(verdict: Verdict) -> Iterator[str]:
    machine = verdict.machine
    yield "## What it costs"
    yield ""
    yield f"On {_plain(machine.processor)}, {machine.core_count} cores, with {verdict.engine}:"
    yield ""
    for one in verdict.speed:
        yield f"- Batch {one.batch}: median {one.p50_ms:.3g} ms, 99th percentile {one.p99_ms:.3g} ms ({one.call_count} calls)"
    yield f"- File: {verdict.size_bytes / 1e6:.3g} MB; memory at its peak: {verdict.memory_peak_bytes / 1e6:.3g} MB"
    yield ""


def _limits(verdict: Verdict) -> Iterator[str]:
    yield "## What is not known"
    yield ""
    yield "- What it was trained on, what it is meant for, and whom its errors hurt: not in the file. Please add it here."
    yield f"- How it behaves on rows unlike the {verdict.row_count} that it was proven with."
    yield from (f"- {_plain(note, 300)}" for note in verdict.notes)
    yield ""


def _origin(lineage: Lineage) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    for number, step in enumerate(lineage.steps, start=1):
        versions = ", ".join(f"{tool} {version}" for tool, version in step.versions.items())
        notes = "".join(f"; {_plain(note, 300)}" for note in step.notes)
        yield f"{number}. {step.room} ({_plain(step.tool)}{', ' + _plain(versions, 200) if versions else ''}){notes}"
    yield ""


def _tensor(spec: TensorSpec) -> str:
    columns = f", columns {_listed(spec.columns)}" if spec.columns else ""
    return f"`{_plain(spec.describe(), 200)}`{columns}"


def _listed(names: Iterator[str] | tuple[str, ...]) -> str:
    listed = [f"`{_plain(name)}`" for name in names]
    return ", ".join(listed[:_LISTED]) + (f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else "")


def _plain(text: str, limit: int = 64) -> str:
    """Return `text` without what Markdown or HTML would read as markup."""
    return "".join("'" if letter == "`" else "¦" if letter == "|" else "‹" if letter == "<" else letter for letter in shorten(text, limit))
