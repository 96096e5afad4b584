"""Does a converted scikit-learn model decide as scikit-learn does? Trains a battery of models, saves, deploys and compares them.

python benchmarks/sklearn_battery.py [--only TEXT] [--in-process] [--write docs/formats/sklearn.md]

1. Each model is trained on a data set that comes with scikit-learn (or on drawn tables and texts), and saved as pickle, joblib or skops.
2. The file goes through ingest and convert as a user's file does, in the sandbox (--in-process: without it, faster).
3. scikit-learn and what would serve the model (ONNX Runtime, or scikit-learn in a process of its own) answer the test rows and rows built
   at the model's thresholds, one unit in the last place to each side in single and in double precision. A decision is a label, or for
   regression a value within 1e-6.

Exits with 1 if any decision differs, or if a model is refused that should not be.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from fairlead.security.sandbox import OneShotSandbox
from sklearn_models import boosters, originals, plain, tables, trees
from sklearn_models.checking import HereSandbox, Line, check

FAMILIES = {
    "trees": trees.CASES,
    "boosters": boosters.CASES,
    "linear, kernels, neighbours, networks": plain.CASES,
    "tables and texts": tables.CASES,
    "kept as they are": originals.CASES,
}
CASES = [case for cases in FAMILIES.values() for case in cases]
BEGIN, END = "<!-- battery begin -->", "<!-- battery end -->"
HEADER = "| model | file | test rows | threshold rows | decisions that differ | largest difference | route |\n|---|---|---|---|---|---|---|"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this text")
    parser.add_argument("--in-process", action="store_true", help="without the sandbox")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    arguments = parser.parse_args()
    sandbox = HereSandbox() if arguments.in_process else OneShotSandbox()
    print(HEADER)
    lines = []
    for case in CASES:
        if arguments.only in case.name:
            lines.append(check(case, sandbox))
            print(lines[-1].markdown(), flush=True)
    summary = _summary(lines)
    print(f"\n{summary}")
    if arguments.write:
        _write(arguments.write, "\n".join([summary, "", HEADER, *(line.markdown() for line in lines)]))
    return 0 if lines and all(line.is_right for line in lines) else 1


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (format, "family: model", outcome, detail) of every model, for the conversion matrix."""
    sandbox = OneShotSandbox()
    for family, cases in FAMILIES.items():
        for case in cases:
            yield _row(family, check(case, sandbox))


def _row(family: str, line: Line) -> tuple[str, str, str, str]:
    named = (f"scikit-learn .{line.suffix}", f"{family}: {line.name}")
    if line.refusal:
        return *named, "refused" if line.is_right else "wrong", line.refusal
    flips = f"{line.flips} decisions differ, largest difference {line.largest:.1e}"
    return (*named, "right", f"{line.largest:.1e}") if line.is_right else (*named, "wrong", flips)


def _summary(lines: list[Line]) -> str:
    import onnxruntime
    import sklearn

    refused = sum(bool(line.refusal) for line in lines)
    kept = sum(line.route == "as it is" for line in lines)
    return (
        f"{len(lines)} models, {refused} refused by name, {kept} kept as they are, {sum(line.rows + line.probes for line in lines)} rows, "
        f"{sum(line.flips for line in lines)} decisions that differ. scikit-learn {sklearn.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, Python {platform.python_version()}, {platform.machine()}."
    )


def _write(path: Path, table: str) -> None:
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
