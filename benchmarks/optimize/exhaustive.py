"""The best point of the search against every recipe of the same space: six models, equal constraints.

    python benchmarks/optimize/exhaustive.py [--budget 3m] [--folder build/optimize] [--only digit_cnn,...]

Both choose from the same passes and values. The search gets the budget; the other tries every recipe of the grid, however long that takes.
Then the two best are compared in pairs. Prints the table of docs/reference/search.md.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models

from fairlead.app.intake import Intake, take_in, to_onnx
from fairlead.app.lineup import Trial
from fairlead.app.search_finish import in_order, plain_contenders, trial_contenders
from fairlead.app.search_measure import Meter
from fairlead.app.search_model import identity
from fairlead.app.search_options import SearchOptions, divide_rows
from fairlead.app.search_setup import set_up
from fairlead.app.search_trials import Limits, Trials
from fairlead.app.trial_cache import TrialCache
from fairlead.app.wiring import House, build_house
from fairlead.app.workspace import workspace
from fairlead.core.pass_use import PassUse, parse_passes
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.datasets.load import load_dataset
from fairlead.engines.machine import describe_machine
from fairlead.plan.stage import plan

NETWORK = "prune_structured(epochs=8),quantize_static_int8(method=minmax,operators=all,per_channel=true),store_fp16,store_int8"
TREES = "merge_trees,prune_trees(aim=speed,refit=true),shorten_ensemble(refit=true),round_leaves(bits=12)"
PASSES = {"xgboost_digits": TREES, "random_forest": TREES}


class Silent:
    """No progress."""

    def step(self, text: str) -> None:
        """Nothing."""

    tell = done = step


def compare(name: str, budget_s: float, folder: Path, house: House) -> str:
    case = models.make(name, folder)
    requirements = parse_requirements(["accuracy_drop<=0.01"])
    passes = parse_passes(PASSES.get(name, NETWORK))
    with workspace(house) as work:
        artifact, rows = take_in(Intake(case.model, case.data, requirements=requirements), house, work, Silent())
        conversion = to_onnx(artifact, house, work, Silent())
        training = load_dataset(case.train, conversion.interface)
        strategy = plan(artifact.facts, artifact.form, requirements, Target())
        trial = Trial(artifact, conversion, rows, strategy, engines=("onnxruntime",))
        found = {kind: _run(kind, trial, training, passes, budget_s, house, work / kind) for kind in ("search", "all")}
        (ours, meter, count, seconds), (theirs, _, every, all_seconds) = found["search"], found["all"]
        compared = "the same model"
        if ours.point.digest != theirs.point.digest:
            compared = str(meter.compare(ours.candidate, ours.path, theirs.candidate, theirs.path, is_final=True))
    mine, best = (f"{one.candidate.name}: {1 / one.finding.time_ratio:.2f}x, {one.finding.size_bytes:,} B" for one in (ours, theirs))
    return f"| {name} | {mine} | {count} in {seconds:.0f} s | {best} | {every} in {all_seconds:.0f} s | {compared} |"


def _run(kind: str, trial: Trial, training, passes: tuple[PassUse, ...], budget_s: float, house: House, folder: Path):
    """One of the two, without what follows a search: other forms, undoing, the verdict."""
    rows = divide_rows(trial.rows, training, trial.conversion.interface, 0)
    setup = set_up(trial, rows, SearchOptions(training=training, passes=passes), house, folder)
    meter = Meter(setup, house)
    started = time.monotonic()
    facts = {"calibration": identity(rows.calibration), "training": identity(rows.training), "kind": kind}
    ends_at = started + budget_s if kind == "search" else math.inf
    trials = Trials(
        setup, meter, TrialCache(house.work.parent / "trials"), Limits(ends_at, budget_s * 4, 2, 0, 0, facts), folder / "trials"
    )
    plain = plain_contenders(setup, trials)
    if kind == "search":
        trials.run(lambda _point: None, lambda _name, _line: None, lambda _name: None)
    else:
        for recipe in setup.space.recipes():
            trials.try_now(recipe)
    best = in_order([*plain, *trial_contenders(trials)], setup.objective)[0]
    setup.close()
    return best, meter, len(trials.points), time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=180.0)
    parser.add_argument("--folder", type=Path, default=Path("build/optimize"))
    parser.add_argument("--only", default=",".join(models.CASES))
    options = parser.parse_args()
    house = build_house(str((options.folder / "home").resolve()))
    print(f"{describe_machine().processor}\n")
    print("| model | search: best | tried | every recipe: best | tried | the search's best against the other, in pairs |")
    print("|---|---|---|---|---|---|")
    for name in options.only.split(","):
        print(compare(name, options.budget, options.folder, house), flush=True)


if __name__ == "__main__":
    main()
