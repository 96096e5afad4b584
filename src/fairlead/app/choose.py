"""Which candidate to register: the converted model where it keeps the promise, a compressed one where that is wanted or needed.

Takes a Trial and a Wish; gives Chosen: the proof, everything that was tried, and why the others were not taken. A search is made where the
user asked for one, and where no plain candidate keeps the promise although a requirement says what may be lost. Raises what proving and
searching raise; a red proof is no error here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.lineup import Trial
from fairlead.app.prove import Proof, prove
from fairlead.app.search_model import search
from fairlead.app.search_options import SearchOptions
from fairlead.app.wiring import House
from fairlead.core.conversion import RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.ledger import Ledger, measured_from
from fairlead.core.plan import Plan
from fairlead.core.ports import Progress
from fairlead.core.search import Objective, SearchResult
from fairlead.errors import InputError
from fairlead.plan.ledger import account

_USUAL_BUDGET_S = 600.0


@dataclass(frozen=True)
class Wish:
    """What was said about compressing: rows to train on, a time, an aim. Whoever says any of it wants a search (a time of 0: none)."""

    training: Dataset | None = None
    budget_s: float | None = None
    objective: Objective | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a search was asked for."""
        return self.budget_s != 0 and (self.training is not None or self.budget_s is not None or self.objective is not None)


@dataclass(frozen=True)
class Chosen:
    """The proof, the plan with what became of it, why the others were not taken, and the search where there was one. `compressed` is the
    ONNX file that passes of a search made of the converted one, whatever form of it was proven.
    """

    proof: Proof
    plan: Plan
    ledger: Ledger
    search: SearchResult | None = None
    compressed: Path | None = None


def choose(trial: Trial, wish: Wish, house: House, folder: Path, progress: Progress) -> Chosen:
    """Prove candidates, plain or compressed, until one keeps every requirement."""
    if wish.is_asked:
        return _searched(trial, wish, wish.budget_s or _USUAL_BUDGET_S, house, folder, progress)
    proof = prove(trial, house, folder, progress)
    measured = [measured_from(verdict) for verdict in (*proof.before, proof.verdict)]
    plain = Chosen(proof, replace(trial.plan, choice=proof.choice), account(measured, trial.plan.requirements))
    time_s = 0.0 if wish.budget_s == 0 else house.settings.search_time_s
    if not time_s or not _could_be_found(trial, proof):
        return plain
    progress.step("search")
    progress.done(f"the converted model does not keep the promise: {time_s:g} s for finding a compressed one that does (--budget)")
    try:
        return _searched(trial, wish, time_s, house, folder / "search", progress)
    except InputError as error:  # nobody asked for a search: what is wrong is the promise, and that is what has to be said
        progress.step("search")
        progress.done(f"none can be looked for: {error.message}")
        return plain


def _could_be_found(trial: Trial, proof: Proof) -> bool:
    """Whether a compressed model may keep what the converted one breaks: a requirement, while another says what may be lost for it."""
    broken = proof.verdict.failures
    return (
        bool(broken)
        and all(check.requirement is not None and not check.requirement.is_loss_bound for check in broken)
        and any(item.is_loss_bound for item in trial.plan.requirements)
        and trial.conversion.form is RuntimeForm.ONNX
        and not trial.rows.is_synthetic
    )


def _searched(trial: Trial, wish: Wish, budget_s: float, house: House, folder: Path, progress: Progress) -> Chosen:
    folder.mkdir(parents=True, exist_ok=True)
    options = SearchOptions(
        budget_s=budget_s,
        objective=wish.objective,
        training=wish.training,
        is_resumed=True,
        to_go_on="The same command goes on from there.",
    )
    found = search(trial, options, house, folder, progress)
    compressed, _ = found.made.get(found.proof.candidate.passes, (None, ()))
    return Chosen(found.proof, found.plan, found.ledger, found.result, compressed)
