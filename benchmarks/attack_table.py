"""Sends every bad model file of tests/hostile through the ingest door and prints what became of it; --write renews the docs' table.

    python benchmarks/attack_table.py [--write] [--only O01]

For each case: was it refused, with which error code, in how many milliseconds, did the file's canary appear, and did the raw library fire
the canary of the same file (the positive control; where there is none, the reason). Exit status 1 where a case was not refused.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "hostile"))
PAGE = ROOT / "docs" / "reference" / "security-cases.md"
MARK = "<!-- below: written by benchmarks/attack_table.py -->"


def main() -> int:
    from controls import fired
    from corpus import all_cases

    from fairlead.security.sandbox import OneShotSandbox

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the table in docs/reference/security-cases.md")
    parser.add_argument("--only", default="", help="only cases whose label holds this text")
    arguments = parser.parse_args()
    chosen = [case for case in all_cases() if arguments.only in case.label]
    every = [case for case in chosen if case.is_possible]
    sandbox = OneShotSandbox()
    with tempfile.TemporaryDirectory() as folder:
        alive = fired(every, Path(folder, "controls"))
        rows = [_run(case, Path(folder, f"case{number}"), alive, sandbox) for number, case in enumerate(every)]
    lines = _table(rows, sorted({case.library for case in chosen} - {case.library for case in every}))
    print("\n".join(lines))
    if arguments.write and not arguments.only:
        head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(head + MARK + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return 0 if all(row[1] == "yes" and row[4] == "silent" for row in rows) else 1


def _run(case, folder, alive, sandbox):
    from fairlead.errors import FairleadError
    from fairlead.ingest.stage import ingest

    (folder / "in").mkdir(parents=True)
    canary = folder / "canary"
    path = case.build(folder / "in", canary)
    began = time.perf_counter()
    try:
        ingest(path, folder / "work", sandbox=sandbox, options=case.options)
        code = ""
    except FairleadError as error:
        code = error.code
    spent_ms = (time.perf_counter() - began) * 1000
    control = "fires" if case.label in alive else "DOES NOT FIRE" if case.control else case.why_not
    return (case.label, "yes" if code else "NO", code, f"{spent_ms:.0f}", "FIRED" if canary.exists() else "silent", control)


def _table(rows, absent):
    from fairlead.security.sandbox import OneShotSandbox

    codes = Counter(row[2] for row in rows)
    refused = sum(row[1] == "yes" for row in rows)
    controls = [row[5] for row in rows if row[5] in ("fires", "DOES NOT FIRE")]
    missing = [f"{name} ({state})" for name, state in OneShotSandbox().layers().items() if state != "active"]
    said = ", ".join(f"{count} {code or 'accepted'}" for code, count in codes.most_common())
    left_out = [f"Left out, since the library is not installed: {', '.join(absent)}."] if absent else []
    return [
        f"Refused: {refused} of {len(rows)} ({said}). Positive controls that fire: {controls.count('fires')} of {len(controls)}.",
        f"Sandbox layers missing on this machine: {', '.join(missing) or 'none'}.",
        *left_out,
        "",
        "| case | refused | code | ms | canary | positive control |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows),
    ]


if __name__ == "__main__":
    sys.exit(main())
