"""Formats in, models through: which conversions are right, which are refused by name, and is anything silently wrong?

python benchmarks/conversion_matrix.py [--only BATTERY ...] [--python BATTERY=INTERPRETER ...] [--keep FOLDER]
    [--write docs/conversion-matrix.md]

Every battery is a module beside this one with `rows()`, which yields (format, "family: model", outcome, detail) and is run in a process of
its own, since training frameworks do not get on with each other. Outcomes:

right    every output as the original's: several batches, two lengths where one is free, rows at thresholds for trees; no decision differs
refused  an error that names the reason, before anything was served
absent   an extra that is not installed here
wrong    anything else, also a battery that ends early

Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib import metadata
from pathlib import Path

BATTERIES = (
    "keras_battery",
    "tensorflow_battery",
    "torch_battery",
    "onnx_battery",
    "sklearn_battery",
    "xgboost_battery",
    "lightgbm_battery",
    "catboost_battery",
    "mlflow_battery",
)
OUTCOMES = ("right", "refused", "absent", "wrong")
BEGIN, END = "<!-- matrix begin -->", "<!-- matrix end -->"
_TIME_S = 3600
_REASONS = 6  # of refusals of one format that are shown


@dataclass(frozen=True)
class Row:
    """One model in one format, and what came of it."""

    format: str
    model: str
    outcome: str
    detail: str

    @property
    def family(self) -> str:
        """What kind of model it is."""
        return self.model.partition(": ")[0] if ": " in self.model else "models"


def main() -> int:
    arguments = _parse()
    if arguments.battery:
        _run_here(arguments.battery)
        return 0
    pythons = dict(item.split("=", 1) for item in arguments.python)
    rows: list[Row] = []
    for name in arguments.only or BATTERIES:
        kept = arguments.keep / f"{name}.json" if arguments.keep else None
        if kept is not None and kept.exists():
            found = [Row(*row) for row in json.loads(kept.read_text(encoding="utf-8"))]
        else:
            found = list(run_battery(name, pythons.get(name, sys.executable)))
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps([astuple(row) for row in found]), encoding="utf-8")
        counts = Counter(row.outcome for row in found)
        print(f"{name}: {', '.join(f'{counts[outcome]} {outcome}' for outcome in OUTCOMES)}", file=sys.stderr, flush=True)
        rows += found
    table = markdown(rows)
    print(table)
    if arguments.write:
        _write(arguments.write, table)
    return 1 if any(row.outcome == "wrong" for row in rows) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="BATTERY", help=f"of {', '.join(BATTERIES)}")
    parser.add_argument("--python", nargs="*", default=[], metavar="BATTERY=INTERPRETER", help="run a battery in another environment")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what each battery found here; what is there is not run again")
    parser.add_argument("--write", type=Path, help="put the table into this document, between its marks")
    parser.add_argument("--battery", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_here(name: str) -> None:
    """Write a battery's rows as JSON lines; what libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for row in importlib.import_module(name).rows():
        out.write(json.dumps(row) + "\n")
        out.flush()


def run_battery(name: str, python: str) -> Iterator[Row]:
    """Yield what a battery finds in a process of its own, and a wrong row where it ends with an error."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    command = [python, __file__, "--battery", name]
    count = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | quiet) as process:
        deadline = threading.Timer(_TIME_S, process.kill)
        deadline.start()
        for line in process.stdout or ():
            count += 1
            row = checked(json.loads(line))
            print(f"{row.outcome:8} {row.format}, {row.model}: {row.detail[:100]}", file=sys.stderr, flush=True)
            yield row
        status = process.wait()
        deadline.cancel()
    if status or not count:
        yield Row(name, "battery: the whole", "wrong", f"it ended with status {status}" if status else "it found nothing")


def checked(row: Sequence[str]) -> Row:
    """Return a battery's row; one that says something else than it may is wrong."""
    format_, model, outcome, detail = row
    if outcome not in OUTCOMES:
        return Row(format_, model, "wrong", f"unknown outcome '{outcome}': {detail}")
    return Row(format_, model, outcome, " ".join(detail.split()))


def markdown(rows: Sequence[Row]) -> str:
    """Return totals, a line per format and family, what is wrong, and why the rest is refused."""
    counts = Counter(row.outcome for row in rows)
    total = ", ".join(f"{counts[outcome]} {_said(outcome)}" for outcome in OUTCOMES)
    lines = [f"{len(rows)} models in {len({row.format for row in rows})} formats: {total}.", "", f"{_versions()}.", ""]
    lines += [
        "| format | models | files | right | refused by name | absent | wrong | largest difference |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (format_, family), group in _grouped(rows).items():
        found = Counter(row.outcome for row in group)
        numbers = " | ".join(str(found[outcome] or "") for outcome in OUTCOMES)
        lines.append(f"| {format_} | {family} | {len(group)} | {numbers} | {_largest(group)} |")
    for outcome, title in (("wrong", "Wrong"), ("absent", "Absent here"), ("refused", "Refused, and why")):
        lines += _reasons([row for row in rows if row.outcome == outcome], title, is_whole=outcome == "wrong")
    return "\n".join(lines)


def _said(outcome: str) -> str:
    return {"refused": "refused by name", "absent": "absent for a missing extra"}.get(outcome, outcome)


def _grouped(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.format, row.family), []).append(row)
    first = {format_: place for place, (format_, _) in reversed(list(enumerate(groups)))}
    return dict(sorted(groups.items(), key=lambda item: first[item[0][0]]))


def _largest(rows: Iterable[Row]) -> str:
    """The largest difference that right rows name."""
    found = []
    for row in rows:
        try:
            found.append(float(row.detail.split()[0]))
        except (ValueError, IndexError):
            continue
    return f"{max(found):.0e}" if found else ""


def _reasons(rows: Sequence[Row], title: str, *, is_whole: bool) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"**{title}**", "")
    by_format: dict[str, Counter[str]] = {}
    for row in rows:
        reason = f"{row.model}: {row.detail}" if is_whole else row.detail
        by_format.setdefault(row.format, Counter())[reason.replace("|", "/")] += 1
    for format_, reasons in by_format.items():
        shown = list(reasons.items())[: None if is_whole else _REASONS]
        yield from (f"- {format_}: {reason[:240]}{f' ({count} models)' if count > 1 else ''}" for reason, count in shown)
        if len(reasons) > len(shown):
            yield f"- {format_}: and {len(reasons) - len(shown)} other reasons"


def _versions() -> str:
    names = ("onnxruntime", "keras", "tensorflow", "torch", "scikit-learn", "xgboost", "lightgbm", "catboost", "mlflow")
    found: Mapping[str, str] = {name: version for name in names if (version := _version(name))}
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version}" for name, version in found.items())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _write(document: Path, table: str) -> None:
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
