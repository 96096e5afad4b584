"""The best point of the search against every recipe of the same space, and against Optuna: six models, equal constraints.

    python benchmarks/optimize/exhaustive.py [--budget 60] [--folder build/optimize] [--only digit_cnn,...] [--optuna PYTHON] [--write PAGE]

All choose from the same passes and values, which are few enough that every recipe can be tried. The search and Optuna get the budget; what
tries every recipe takes as long as it takes. Each begins with nothing kept. Then the best ones are compared in pairs. Optuna needs an
environment of its own: python -m venv other && other/bin/pip install optuna, then --optuna other/bin/python. Rows are kept in
FOLDER/exhaustive.jsonl as they come.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import models
from results import Results, publish

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.search_finish import Contender, in_order, plain_contenders, trial_contenders
from fairlead.app.search_measure import Meter
from fairlead.app.search_model import identity
from fairlead.app.search_options import SearchOptions, divide_rows
from fairlead.app.search_setup import Setup, set_up
from fairlead.app.search_trials import Limits, Trials
from fairlead.app.search_voice import SearchVoice
from fairlead.app.trial_cache import TrialCache
from fairlead.app.wiring import House, build_house
from fairlead.app.workspace import workspace
from fairlead.core.paired import Comparison
from fairlead.core.pass_use import PassUse, parse_passes
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.datasets.load import load_dataset
from fairlead.optimize.search.front import cost
from fairlead.optimize.search.space import Recipe, Space, place_of
from fairlead.optimize.search.space import in_order as ordered
from fairlead.plan.stage import plan

FLOOR = "accuracy_drop<=0.01"
NETWORK = "prune_structured(epochs=8),quantize_static_int8(method=minmax,operators=all,per_channel=true),store_fp16,store_int8"
PICTURES = (
    "prune_structured(epochs=4),distill_strided(depth=1,epochs=3,shifts=2),"
    "quantize_static_int8(method=minmax,operators=all,per_channel=true),store_int8"
)
TREES = "merge_trees,prune_trees(aim=speed,refit=true),shorten_ensemble(refit=true),round_leaves(bits=12)"
PASSES = {"xgboost_digits": TREES, "random_forest": TREES, "digit_cnn": PICTURES, "wide_cnn": PICTURES}
_BAD = 1e3  # what a recipe that breaks the floor is worth to a searcher that knows numbers only


class Silent:
    """No progress."""

    def step(self, text: str) -> None:
        """Nothing."""

    tell = done = step


class Asker:
    """Optuna in a process of its own, over the choices of a space: each kind of pass is one of its uses, or left out."""

    def __init__(self, python: str, space: Space, seed: int) -> None:
        self._options: dict[str, list[PassUse | None]] = {}
        for name in space.values:
            self._options.setdefault(place_of(name).slot or name, [None]).extend(space.grid(name))
        counts = {name: len(uses) for name, uses in self._options.items()}
        command = [python, str(Path(__file__).with_name("optuna_asker.py")), str(seed), json.dumps(counts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._read()["version"]

    def ask(self) -> tuple[int, Recipe]:
        """Return the next choice: its number and the recipe."""
        self._write("")
        found = self._read()
        uses = [self._options[name][place] for name, place in found["choice"].items()]
        return found["number"], ordered([use for use in uses if use is not None])

    def tell(self, number: int, value: float) -> None:
        """Say what a choice was worth."""
        self._write(json.dumps({"number": number, "value": value}))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        return json.loads(self._process.stdout.readline())

    def _write(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


@dataclass(frozen=True)
class Case:
    """A model ready to be searched over."""

    trial: Trial
    training: Any
    passes: tuple[PassUse, ...]
    house: House


@dataclass(frozen=True)
class Found:
    """What a searcher found, with which meter, in how many trials and seconds."""

    best: Contender
    meter: Meter
    count: int
    seconds: float


@contextmanager
def searched(case: Case, kind: str, budget_s: float, folder: Path) -> Iterator[tuple[Setup, Trials, Meter]]:
    """Set up what all searchers do alike; nothing is taken from an earlier run."""
    rows = divide_rows(case.trial.rows, case.training, case.trial.conversion.interface, 0)
    setup = set_up(case.trial, rows, SearchOptions(training=case.training, passes=case.passes), case.house, folder)
    meter = Meter(setup, case.house)
    facts = {"calibration": identity(rows.calibration), "training": identity(rows.training), "kind": f"{kind} {time.time_ns()}"}
    ends_at = time.monotonic() + budget_s
    limits = Limits(
        ends_at=ends_at,
        closes_at=math.inf,
        budget_s=budget_s * 4,  # one trial may train as long as the whole lasts
        width=len(os.sched_getaffinity(0)),
        memory_bytes=0,
        seed=0,
        facts=facts,
    )
    trials = Trials(setup, meter, TrialCache(case.house.work.parent / "trials"), limits, folder / "trials", SearchVoice(Silent()))
    try:
        yield setup, trials, meter
    finally:
        setup.close()


def find(case: Case, kind: str, budget_s: float, python: str, folder: Path) -> Found:
    """Let one searcher look, without what follows a search: other forms, undoing, the verdict."""
    with searched(case, kind, math.inf if kind == "all" else budget_s, folder) as (setup, trials, meter):
        started = time.monotonic()
        plain = plain_contenders(setup, trials)
        if kind == "search":
            trials.run(lambda _point: None, lambda _name: None)
        elif kind == "all":
            for recipe in setup.space.recipes():
                trials.try_now(recipe)
        else:
            _ask_optuna(Asker(python, setup.space, 0), setup, trials)
        best = in_order([*plain, *trial_contenders(trials)], setup.objective)[0]
        return Found(best, meter, len(trials.points), time.monotonic() - started)


def _ask_optuna(asker: Asker, setup: Setup, trials: Trials) -> None:
    count, known = setup.space.count(10_000), set()
    asked = 0
    while trials.has_time and len(known) < count and asked < 4 * count:
        number, recipe = asker.ask()
        finding = trials.try_now(recipe)
        asked += 1
        known.add(recipe_key(recipe))
        if finding is not None:
            asker.tell(number, cost(finding, setup.objective) if finding.holds_floor else _BAD)
    asker.close()


def recipe_key(recipe: Recipe) -> str:
    """What tells recipes apart."""
    return " + ".join(map(str, recipe))


def measure(name: str, budget_s: float, folder: Path, house: House, python: str) -> dict[str, Any]:
    """Return what each searcher found for a model, and how the search's best compares."""
    made = models.make(name, folder)
    requirements = parse_requirements([FLOOR])
    with workspace(house) as work:
        artifact, rows = take_in(Intake(made.model, made.data, requirements=requirements), house, work, Silent())
        conversion = to_onnx(artifact, house, work, Silent())
        training = load_dataset(made.train, conversion.interface)
        strategy = plan(artifact.facts, artifact.form, requirements, Target())
        trial = Trial(artifact, conversion, rows, strategy, engines=("onnxruntime",))
        case = Case(trial, training, parse_passes(PASSES.get(name, NETWORK)), house)
        kinds = ("search", "all", *(("optuna",) if python else ()))
        found = {kind: find(case, kind, budget_s, python, work / kind) for kind in kinds}
        ours, meter = found["search"].best, found["search"].meter
        row: dict[str, Any] = {"model": name, "budget_s": budget_s}
        for kind, one in found.items():
            best, compared = one.best, None
            if kind != "search" and best.point.digest != ours.point.digest:
                compared = meter.compare(ours.candidate, ours.path, best.candidate, best.path, is_final=True)
            row[kind] = {
                "best": best.candidate.name,
                "speed": 1 / best.finding.time_ratio,
                "bytes": best.finding.size_bytes,
                "lost": best.finding.loss,
                "count": one.count,
                "seconds": one.seconds,
                "compared": "the same model" if compared is None else said(compared),
            }
    return row


def said(compared: Comparison) -> str:
    """Time of the search's best over the other's, with its interval."""
    return f"{compared.ratio:.2f} (99 %: {compared.low:.2f} to {compared.high:.2f})"


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """All rows as Markdown."""
    head = (
        "| model | searcher | best | faster than untouched | bytes | accuracy lost | trials | s | time of the search's best over its best |"
    )
    lines = [head, "|---|---|---|---:|---:|---:|---:|---:|---|"]
    shown = {"search": "fairlead, {:.0f} s", "all": "every recipe", "optuna": "Optuna, {:.0f} s"}
    for row in rows.values():
        for kind, label in shown.items():
            if kind in row:
                one = row[kind]
                compared = "" if kind == "search" else one["compared"]
                lines.append(
                    f"| {row['model']} | {label.format(row['budget_s'])} | `{one['best']}` | {one['speed']:.2f}x | {one['bytes']:,} "
                    f"| {one['lost']:.4f} | {one['count']} | {one['seconds']:.0f} | {compared} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--only", default=",".join(models.CASES))
    parser.add_argument("--optuna", default="", help="an interpreter whose environment has optuna")
    parser.add_argument("--write", type=Path, help="the page that the table stands in")
    options = parser.parse_args()
    folder = options.folder.resolve()
    house = build_house(str(folder / "home"))
    results = Results(folder / "exhaustive.jsonl")
    for name in options.only.split(","):
        if name not in results.rows:
            print(results.add(name, **measure(name, options.budget, folder, house, options.optuna)), file=sys.stderr, flush=True)
    publish("exhaustive", table(results.rows), options.write)


if __name__ == "__main__":
    main()
