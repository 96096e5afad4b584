"""Every engine on five models at batch 1 and 32, on one thread and in turns, and whether Fairlead picks the right one.

    python benchmarks/engines.py [--write docs/reference/engines.md]

For each model and batch size: Fairlead's own choice (app.lineup, as `deploy` makes it, in 0.3 s per engine), then a longer run of the same
engines in turns, which is the judge. A pick is right where it is within 10 % of the fastest by the judge. Prints a table; with --write,
puts it between the marks `<!-- engines -->` of that file. Needs Keras, XGBoost, and the engines that are to be compared.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.lineup import Trial, line_up, usable
from fairlead.app.wiring import House, build_house
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.engines.stopwatch import TimingLimits, compare_engines
from fairlead.plan.stage import plan
from fairlead.verify.run_rows import repeat_rows

BATCHES = (1, 32)
JUDGE = TimingLimits(call_count=4000, time_s=3.0)
CLOSE = 1.10
MODELS = {
    "small CNN": ("networks", "small_cnn"),
    "MobileNetV2-like": ("networks", "mobile_net"),
    "small transformer": ("networks", "transformer"),
    "boosted trees": ("trees", "boosted_trees"),
    "random forest": ("trees", "random_forest"),
}
ENGINES = ("as-converted", "openvino", "tflite", "trees")
TITLES = {"as-converted": "ONNX Runtime", "openvino": "OpenVINO", "tflite": "LiteRT", "trees": "compiled trees"}


@dataclass(frozen=True)
class Cell:
    """One model at one batch size: milliseconds by candidate as the judge measured them, and Fairlead's pick."""

    model: str
    batch: int
    times_ms: dict[str, float]
    picked: str
    absent: tuple[tuple[str, str], ...]

    @property
    def fastest(self) -> str:
        """The judge's winner."""
        return min(self.times_ms, key=lambda name: self.times_ms[name])

    @property
    def is_right(self) -> bool:
        """Whether the pick is close to the fastest."""
        return self.times_ms[self.picked] <= self.times_ms[self.fastest] * CLOSE


class Silence:
    """Progress that nobody watches."""

    def step(self, text: str) -> None:
        """Say nothing."""

    tell = step

    def done(self, text: str) -> None:
        """Say nothing."""


def measure(title: str, path: Path, house: House, folder: Path) -> list[Cell]:
    """Return the cells of one model."""
    artifact, rows = take_in(Intake(path), house, folder, Silence())
    conversion = to_onnx(artifact, house, folder, Silence())
    cells = []
    for batch in BATCHES:
        requirements = parse_requirements([f"p50_ms@{batch}<=1000"])
        strategy = plan(artifact.facts, artifact.form, requirements, Target())
        trial = Trial(artifact, conversion, rows, strategy)
        racing = [candidate for candidate in usable(trial) if not candidate.passes]
        entrants, choice = line_up(racing, trial, house, folder / f"batch-{batch}")
        engines = {name: entrant.engine for name, entrant in entrants.items()}
        judged = compare_engines(engines, repeat_rows(rows.inputs, batch), JUDGE)
        cells.append(
            Cell(title, batch, {name: timing.percentile_ms(50) for name, timing in judged.items()}, choice.order[0], choice.absent)
        )
        for engine in engines.values():
            engine.close()
    return cells


def table(cells: list[Cell]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | batch | " + " | ".join(TITLES[name] for name in ENGINES) + " | picked | fastest |",
        "|---" * (len(ENGINES) + 4) + "|",
    ]
    for cell in cells:
        times = [f"{cell.times_ms[name]:.3g}" if name in cell.times_ms else "-" for name in ENGINES]
        lines.append(
            f"| {cell.model} | {cell.batch} | {' | '.join(times)} | {TITLES[cell.picked]} | {TITLES[cell.fastest]}"
            f"{'' if cell.is_right else ' (missed)'} |"
        )
    right = sum(cell.is_right for cell in cells)
    return "\n".join([*lines, "", f"Milliseconds of one call, median. {right} of {len(cells)} picks are within 10 % of the fastest."])


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as home:
        house = build_house(home)
        for title, (module, function) in MODELS.items():
            folder = Path(home) / title.replace(" ", "-")
            folder.mkdir()
            make: Callable[[Path], Path] = getattr(__import__(f"engine_models.{module}", fromlist=[function]), function)
            found = measure(title, make(folder), house, folder / "work")
            cells += found
            for cell in found:
                print(f"{cell.model} batch {cell.batch}: {cell.times_ms} picked {cell.picked}; without {cell.absent}", file=sys.stderr)
    text = table(cells)
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        block = f"<!-- engines -->\n{text}\n<!-- /engines -->"
        arguments.write.write_text(
            re.sub(r"<!-- engines -->.*?<!-- /engines -->", lambda _: block, page, flags=re.DOTALL), encoding="utf-8"
        )
    sys.exit(0 if sum(cell.is_right for cell in cells) >= 0.9 * len(cells) else 1)


if __name__ == "__main__":
    main()
