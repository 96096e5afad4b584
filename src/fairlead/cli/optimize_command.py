"""`fairlead optimize`: smaller and faster within requirements, found by a search."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from fairlead.app.intake import Intake
from fairlead.app.optimize_model import Optimized, OptimizeRequest, optimize_model
from fairlead.app.source_options import parse_options
from fairlead.app.wiring import build_house
from fairlead.cli.deploy_command import checks_table
from fairlead.cli.printing import Duration, StepProgress, emit_json, home_option, json_option, source_options, table
from fairlead.core.interface import Task
from fairlead.core.manifest import readable_size
from fairlead.core.pass_use import parse_passes
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import Objective, PointStatus, SearchPoint, SearchResult
from fairlead.core.target import Target

_SHOWN = 12


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Rows to choose and judge with, best with right answers.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the models and the report.")
@click.option("--train", "training", type=click.Path(path_type=Path), help="Rows with right answers to train on; none of --data's.")
@click.option("--target", metavar="COLUMN", help="Column (or array) of the right answers.")
@click.option("--require", multiple=True, metavar="PROMISE", help="E.g. 'accuracy_drop<=0.005'. Repeat for more.")
@click.option("--budget", type=Duration(), default="10m", show_default=True, help="Time for all of it: 90s, 10m, 1h.")
@click.option("--objective", type=click.Choice([one.value for one in Objective]), help="What to have little of; see below.")
@click.option("--passes", metavar="LIST", help="Choose from these only: 'prune_structured(ratio=0.5),store_fp16'.")
@click.option("--apply", "applied", metavar="LIST", help="Apply exactly these, in this order; search nothing.")
@click.option("--resume", "is_resumed", is_flag=True, help="Go on where the same search was interrupted.")
@click.option("--cores", type=click.IntRange(1, 1024), default=1, show_default=True, help="CPU cores that one call may use.")
@click.option("--task", type=click.Choice([task.value for task in Task]), help="Where it cannot be told from the model.")
@source_options
@home_option
@json_option
def optimize(*, model: Path, out: Path, home: str | None, as_json: bool, **flags: Any) -> None:
    """Make MODEL smaller and faster within requirements. Nothing is registered.

    Tries graph, weight, number and structure passes and their combinations, each in a process of its own; keeps what paired runs on this
    machine show to be faster, or smaller and no slower, and proves the best on rows that no choice has seen.

    \b
    Examples:
      fairlead optimize model.onnx --data digits.npz --out small/
      fairlead optimize model.h5 --data digits.npz --train train.npz --out small/ \\
          --require "accuracy_drop<=0.005" --require "size_mb<=0.1" --budget 10m
      fairlead optimize booster.json --data rows.csv --target y --out small/ --objective size
      fairlead optimize model.onnx --data digits.npz --out q/ --apply "quantize_static_int8"

    \b
    Objective: every requirement is kept first. Then what the first requirement on speed, size or
    memory is about, or latency where there is none.
    """
    if flags["passes"] and flags["applied"]:
        raise click.UsageError("--passes is to choose from, --apply is exactly that: give one of them.")
    intake = Intake(
        model,
        flags["data"],
        flags["target"],
        requirements=parse_requirements(flags["require"]),
        task=Task(flags["task"]) if flags["task"] else None,
        options=parse_options(flags["model_class"], flags["model_arg"], flags["input"], flags["import_path"], flags["signature"]),
        tracking_uri=flags["tracking_uri"] or "",
    )
    request = OptimizeRequest(
        intake,
        out,
        training=flags["training"],
        budget_s=flags["budget"],
        objective=Objective(flags["objective"]) if flags["objective"] else None,
        passes=parse_passes(flags["passes"] or flags["applied"] or ""),
        is_exact=bool(flags["applied"]),
        is_resumed=flags["is_resumed"],
        target=Target(core_count=flags["cores"]),
        command=shlex.join(["fairlead", *sys.argv[1:]]),
    )
    optimized = optimize_model(request, build_house(home), StepProgress(is_silent=as_json))
    if as_json:
        emit_json(
            {"search": optimized.found.result, "verdict": optimized.verdict, "ledger": optimized.found.ledger, "files": optimized.files}
        )
        return
    click.echo(_describe(optimized, out))


def _describe(optimized: Optimized, out: Path) -> str:
    result, verdict = optimized.found.result, optimized.verdict
    lines = ["", _points_table(result), "", checks_table(verdict), ""]
    lines += [f"undone: {name}: {why}" for name, why in result.undone]
    lines.append(click.style(_best_line(result), bold=True))
    lines += [f"{name} would be tried with: pip install 'fairlead[{extra}]'" for name, extra in result.missing_extras]
    written = {name: path for name, path in optimized.files.items() if name.startswith("best/") or name.endswith((".sh", ".html"))}
    lines += ["", click.style("Written:", bold=True), *(f"  {path}  {readable_size(path.stat().st_size)}" for path in written.values())]
    front = sum(name.startswith("pareto/") for name in optimized.files)
    lines += [f"  {out / 'pareto'}/  {front} more that no other beats in time, size and loss at once"] if front else []
    return "\n".join(lines)


def _points_table(result: SearchResult) -> str:
    """The best, the front and the baseline first, then what was rejected."""
    marked = {result.best: "best", result.baseline: "baseline", **dict.fromkeys(result.pareto, "front")} | {result.best: "best"}
    order = sorted(
        result.points, key=lambda point: (point.candidate.name not in marked, point.status is not PointStatus.KEPT, point.latency_ms or 9e9)
    )
    shown = [point for point in order if point.status is not PointStatus.DUPLICATE][:_SHOWN]
    rows = [_row(point, marked.get(point.candidate.name, "")) for point in shown]
    rest = len(result.points) - len(shown)
    more = f"\n  and {rest} more in report.html" if rest > 0 else ""
    return table(rows, ("", "MODEL", "SIZE", "GZIP", "MS", "AGAINST THE BASELINE", "LOSS", "")) + more


def _row(point: SearchPoint, marking: str) -> tuple[str, ...]:
    is_built = bool(point.size_bytes)
    said = {PointStatus.KEPT: marking, PointStatus.UNDONE: "undone"}.get(point.status, f"{point.status.value}: {point.reason}")
    mark = click.style({"best": "★", "front": "•"}.get(marking, " "), fg="green")
    return (
        mark,
        point.candidate.name,
        readable_size(point.size_bytes) if is_built else "",
        readable_size(point.compressed_bytes) if point.compressed_bytes else "",
        f"{point.latency_ms:.3g}" if point.latency_ms is not None else "",
        str(point.against_baseline) if point.against_baseline is not None else "",
        f"{point.loss:.3g}" if is_built else "",
        said,
    )


def _best_line(result: SearchResult) -> str:
    best, baseline = result.point(result.best), result.point(result.baseline)
    if best is None or baseline is None or best is baseline:
        return f"Nothing that was tried is better than {result.baseline} here: it stays as it is."
    size = baseline.size_bytes / max(best.size_bytes, 1)
    speed = f", {best.against_baseline}" if best.against_baseline is not None else ""
    return f"{best.candidate.name}: {size:.3g}x smaller{speed}"
