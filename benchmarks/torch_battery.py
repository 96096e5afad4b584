"""Are PyTorch files read right? Saves a battery of models in four formats, and compares Fairlead's answers with PyTorch's own.

python benchmarks/torch_battery.py [--only TEXT] [--sandbox] [--write docs/formats/torch.md]

1. Each model is built with drawn weights, and saved as .pt2, TorchScript, state_dict and safetensors.
2. The file goes through ingest, convert and the reference as a user's file does (--sandbox: in the sandbox; without it here, faster).
3. PyTorch, the reference and the converted model (ONNX Runtime, or PyTorch where ONNX cannot hold the model) answer drawn rows at batch 1,
   2 and 7 and, where a size is free, at two lengths. Right: every difference is at most 1e-5, absolute below 1 and relative above, and no
   decision differs.

Exits with 1 if anything is wrong, or if a model is refused that should not be.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch_models.checking import Line

BEGIN, END = "<!-- battery begin -->", "<!-- battery end -->"
HEADER = "| model | what is in it | format | runs as | largest difference | outcome |\n|---|---|---|---|---|---|"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this text")
    parser.add_argument("--sandbox", action="store_true", help="open every file in the sandbox")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    arguments = parser.parse_args()
    print(HEADER)
    found = []
    for line in lines(only=arguments.only, in_sandbox=arguments.sandbox):
        found.append(line)
        print(line.markdown(), flush=True)
    summary = _summary(found)
    print(f"\n{summary}")
    if arguments.write:
        _write(arguments.write, "\n".join([summary, "", HEADER, *(line.markdown() for line in found)]))
    return 0 if found and all(_is_expected(line) for line in found) else 1


def lines(*, only: str = "", in_sandbox: bool = False) -> Iterator[Line]:
    """Yield one line per model and format."""
    from fairlead.security.sandbox import OneShotSandbox
    from torch_models.battery import CASES
    from torch_models.checking import HereSandbox, check_case

    sandbox = OneShotSandbox() if in_sandbox else HereSandbox()
    for case in CASES:
        if only.lower() in case.name.lower():
            yield from check_case(case, sandbox)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (format, model, outcome, detail) of every file, for the conversion matrix."""
    for line in lines():
        difference = f"{line.largest:.1e}" if line.largest is not None else ""
        family = line.case.family.partition(":")[0]
        yield line.format, f"{family}: {line.case.name}", line.outcome, line.detail or f"{difference} ({line.way})"


def _is_expected(line: Line) -> bool:
    return line.outcome == ("refused" if line.case.family.startswith("refused") else "right") or line.outcome == "absent"


def _summary(found: list[Line]) -> str:
    import onnxruntime
    import torch

    counts = Counter(line.outcome for line in found)
    total = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    models = len({line.case.build for line in found})
    return (
        f"{models} models, {len(found)} files: {total}. torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}."
    )


def _write(path: Path, table: str) -> None:
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
