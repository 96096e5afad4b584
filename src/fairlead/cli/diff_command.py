"""`fairlead diff`: what differs between two versions, in what they promise and in what they answer."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.app.registry_diff import diff as compare
from fairlead.app.registry_tags import spoken_tag
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option, sections, table
from fairlead.core.comparison import AnswerChange, MetricChange, VersionDiff
from fairlead.core.manifest import readable_size

_TITLES = {"size_bytes": "size", "memory_bytes": "peak memory", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "throughput_rps": "rows per s"}


@click.command()
@click.argument("left")
@click.argument("right")
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Rows to ask both.  [default: the golden rows]")
@click.option("--target", metavar="COLUMN", help="Column of --data with the right answers.")
@home_option
@json_option
def diff(left: str, right: str, data: Path | None, target: str | None, home: str | None, *, as_json: bool) -> None:
    """Say what differs between two versions, e.g. digits:3 digits:4. Both are asked the same rows."""
    found = compare(left, right, build_house(home), data=data, target=target)
    if as_json:
        emit_json(found)
        return
    click.echo(_text(found))


def _text(found: VersionDiff) -> str:
    same = "the same content" if found.is_same_content else "the same for clients" if not found.interface else "clients would notice"
    parts = [(f"{found.left} -> {found.right}: {same}", list(found.interface))]
    if found.metrics:
        rows = "measured on the same rows" if found.same_rows else "measured on different rows: compare with care"
        parts.append(
            (f"Quality ({rows})", table([_metric(item) for item in found.metrics], ("", found.left, found.right, "")).splitlines())
        )
    machine = "measured on the same kind of machine" if found.same_machine else "measured on different machines: compare with care"
    costs = [_cost(name, *pair) for name, pair in found.costs.items()]
    parts.append((f"Cost ({machine})", table(costs, ("", found.left, found.right, "")).splitlines()))
    made = [
        line
        for what, (one, other) in found.made.items()
        for line in (f"{what}:", f"  - {one or 'not known'}", f"  + {other or 'not known'}")
    ]
    parts.append(("Made otherwise" if made else "Made in the same way", made))
    tags = _tags(found)
    if tags:
        parts.append(("Tags", tags))
    parts.append(_answers(found.answers, found) if found.answers is not None else ("Answers", [f"not compared: {found.unasked}"]))
    return sections(parts)


def _metric(item: MetricChange) -> tuple[str, str, str, str]:
    change = ""
    if item.left is not None and item.right is not None:
        change = f"{item.right - item.left:+.4f}"
        if item.left_interval is not None and item.right_interval is not None and _overlap(item.left_interval, item.right_interval):
            change += ", intervals overlap"
    return item.metric, _measured(item.left, item.left_interval), _measured(item.right, item.right_interval), change


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _measured(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval is not None else "")


def _cost(name: str, left: float | None, right: float | None) -> tuple[str, str, str, str]:
    def said(value: float | None) -> str:
        if value is None:
            return "-"
        return readable_size(int(value)) if name.endswith("_bytes") else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"

    change = f"x {right / left:.3g}" if left and right and left != right else ""
    return _TITLES[name], said(left), said(right), change


def _tags(found: VersionDiff) -> list[str]:
    left, right = found.left_tags, found.right_tags
    return [
        *(f"- {spoken_tag(key, value)}" for key, value in left.items() if right.get(key) != value),
        *(f"+ {spoken_tag(key, value)}" for key, value in right.items() if left.get(key) != value),
    ]


def _answers(answers: AnswerChange, found: VersionDiff) -> tuple[str, list[str]]:
    count = answers.row_count
    title = f"Answers to {count:,} row{'' if count == 1 else 's'} ({answers.source})"
    if answers.flip_count is None:
        return title, [f"differ by at most {answers.largest:.4g}, on average by {answers.mean:.4g}"]
    low, high = answers.interval or (0.0, 1.0)
    lines = [f"{answers.flip_count:,} decided otherwise: {answers.flip_count / max(count, 1):.2%} (95 %: {low:.2%} to {high:.2%})"]
    lines += [f"  row {flip.row}: {flip.left} -> {flip.right}" for flip in answers.flips]
    if answers.left_right is not None and answers.right_right is not None:
        lines.append(
            f"right: {found.left} {answers.left_right:,}, {found.right} {answers.right_right:,}; "
            f"{answers.only_left:,} only before, {answers.only_right:,} only after"
        )
    return title, lines
