"""The command line of the batteries of boosted models: prints the table, and puts it into a document between two marks."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime

from booster_check import HEADER, Line
from fairlead.core.ports import Sandbox
from fairlead.security.sandbox import OneShotSandbox
from sklearn_models.checking import HereSandbox


def main(doc: str | None, title: str, lines: Callable[[Sandbox, str], Iterator[Line]], library: str) -> int:
    """Run the battery; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this text")
    parser.add_argument("--in-process", action="store_true", help="without the sandbox")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    arguments = parser.parse_args()
    print(HEADER)
    found = []
    for line in lines(HereSandbox() if arguments.in_process else OneShotSandbox(), arguments.only):
        found.append(line)
        print(line.markdown(), flush=True)
    summary = _summary(found, library)
    print(f"\n{summary}")
    if arguments.write:
        _write(arguments.write, title, "\n".join([summary, "", HEADER, *(line.markdown() for line in found)]))
    return 0 if found and all(line.outcome != "wrong" for line in found) else 1


def _summary(found: list[Line], library: str) -> str:
    counts = {outcome: sum(line.outcome == outcome for line in found) for outcome in ("right", "refused", "absent", "wrong")}
    return (
        f"{len(found)} models: {counts['right']} right, {counts['refused']} refused by name, {counts['wrong']} wrong; "
        f"{sum(line.rows for line in found)} rows, {sum(line.flips for line in found)} decisions that differ. {library}, onnxruntime "
        f"{onnxruntime.__version__}, Python {platform.python_version()}, {platform.machine()}."
    )


def _write(path: Path, title: str, table: str) -> None:
    begin, end = (f"<!-- {title} {place} -->" for place in ("begin", "end"))
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")
