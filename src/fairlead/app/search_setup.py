"""What a search begins with: the fastest model that no pass has touched, the original's answers, the space, and a folder that trials share.

Takes a Trial with the rows divided; gives a Setup. Raises what the engines and the original raise, UnsupportedError where no engine runs
the model, SpecError where ONNX Runtime, with which trials are run, is not among the engines that may be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import onnx

from fairlead.app.lineup import Entrant, Trial, line_up, usable
from fairlead.app.references import Reference, open_reference
from fairlead.app.search_options import Rows, SearchOptions
from fairlead.app.trial_quality import Judge
from fairlead.app.wiring import House
from fairlead.core.conversion import ENGINE_OF_FORM, RuntimeForm
from fairlead.core.engine_choice import EngineChoice
from fairlead.core.interface import Array
from fairlead.core.requirement import MetricKind
from fairlead.core.search import Objective
from fairlead.engines.tensor_file import write_tensors
from fairlead.errors import MissingExtraError, SpecError, UnsupportedError
from fairlead.optimize.search.space import NO_FLOOR, Space, Supply, make_space
from fairlead.stores.document import dump
from fairlead.verify.attribution import occluded
from fairlead.verify.parity import with_probes
from fairlead.verify.run_rows import run_in_pieces, run_reference

_TIMED = (MetricKind.LATENCY, MetricKind.THROUGHPUT)
ONNX_ENGINE = ENGINE_OF_FORM[RuntimeForm.ONNX]
EXPLAINED = "explanation_agreement"
NO_ONNX = "the model has no ONNX form"
# What each extra brings that a pass could need; one that is not here is looked for when the pass is loaded.
_MODULES: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "sklearn": ("sklearn",),
    "keras": ("keras", "torch"),
    "tensorflow": ("tensorflow",),
    "slim": ("onnxslim",),
    "tfmot": ("tensorflow_model_optimization", "tf_keras"),
}


@dataclass(frozen=True)
class Setup:
    """What every trial is held against. `plain` are the models that no pass has touched by name, `baseline` the fastest of them, and
    `reference` answers for the original, from memory for the rows of the search.
    """

    trial: Trial
    rows: Rows
    plain: Mapping[str, Entrant] = field(repr=False)
    choice: EngineChoice
    baseline: str
    judge: Judge = field(repr=False)
    space: Space
    objective: Objective
    batch: int
    shared: Path
    reference: Reference = field(repr=False)

    def close(self) -> None:
        """Close the engines."""
        self.reference.close()
        for entrant in self.plain.values():
            entrant.engine.close()


def set_up(trial: Trial, rows: Rows, options: SearchOptions, house: House, folder: Path) -> Setup:
    """Return what the search begins with; the caller closes it."""
    if trial.engines and ONNX_ENGINE not in trial.engines:
        raise SpecError(
            f"A search tries its models with {ONNX_ENGINE}, which is not among the engines to choose from.",
            hint=f"Add {ONNX_ENGINE}, or leave the choice open.",
        )
    choosing = replace(trial, rows=rows.selection)
    plain = [candidate for candidate in usable(choosing) if not candidate.passes and candidate.thread_count == 1]
    if options.is_exact:  # nothing is chosen: one model to compare with is enough
        plain = [candidate for candidate in plain if candidate.engine == ONNX_ENGINE] or plain
    entrants, choice = line_up(plain, choosing, house, folder / "plain")
    if not entrants:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in choice.absent)
        raise UnsupportedError(f"No engine can run this model here: {reasons or 'none was asked for'}", hint="See `fairlead doctor`.")
    reference = open_reference(trial.artifact, folder / "reference", house.sandbox)
    try:
        judge = _judge(choosing, rows, reference, house)
        timed = [item.batch for item in trial.plan.requirements if item.kind in _TIMED]
        return Setup(
            trial=choosing,
            rows=rows,
            plain=entrants,
            choice=choice,
            baseline=choice.order[0],
            judge=judge,
            space=_space(trial, rows, options),
            objective=options.aim(trial.plan.requirements),
            batch=timed[0] if timed else 1,
            shared=_share(trial, rows, folder / "shared"),
            reference=reference,
        )
    except BaseException:
        reference.close()
        for entrant in entrants.values():
            entrant.engine.close()
        raise


def _judge(trial: Trial, rows: Rows, reference: Reference, house: House) -> Judge:
    """Ask the original once for all that will be held against it: a framework in a process of its own takes seconds to start."""
    seed, verdict = house.settings.seed, rows.verdict.inputs
    asked = [rows.selection.inputs, with_probes(verdict, trial.conversion.probes), occluded(verdict, seed)[0]]
    if any(item.metric == EXPLAINED for item in trial.plan.requirements):
        asked.append(occluded(rows.selection.inputs, seed)[0])
    reference.prepare(asked)
    original = run_reference(reference, rows.selection.inputs)
    return Judge(trial.conversion.interface, trial.rows, original, trial.plan.requirements, trial.metrics, seed, unseen=rows.verdict.rows)


def _space(trial: Trial, rows: Rows, options: SearchOptions) -> Space:
    """What can be tried; nothing for a model without an ONNX form. Raises UnsupportedError where passes were asked for by name."""
    if trial.conversion.form is not RuntimeForm.ONNX:
        if options.passes:
            raise UnsupportedError(f"No pass can be applied: {NO_ONNX}.", hint="Leave --passes and --apply out.")
        return Space({}, (("every pass", NO_ONNX),))
    operators = _operators(onnx.load_model(trial.conversion.path).graph)
    supply = Supply(
        has_rows=rows.calibration is not None,
        has_training=rows.training is not None,
        is_lossy_allowed=not rows.selection.is_synthetic
        and (options.allow_lossy or any(one.is_loss_bound for one in trial.plan.requirements)),
        missing_extras=frozenset(extra for extra, modules in _MODULES.items() if any(find_spec(module) is None for module in modules)),
    )
    space = make_space(operators, supply, only=options.passes)
    if options.passes and not options.is_exact:
        _check_named(space, is_drawn=rows.selection.is_synthetic)
    return space


def _check_named(space: Space, *, is_drawn: bool) -> None:
    """Passes that the user names are tried, or it is said at once why they cannot be."""
    for name, extra in space.missing:
        raise MissingExtraError(extra, needed_for=f"The pass '{name}'")
    for name, reason in space.left_out:
        why = "it loses something, and without rows nothing tells how much" if is_drawn and reason == NO_FLOOR else reason
        raise UnsupportedError(
            f"The pass '{name}' cannot be tried here: {why}.", hint="Give --data and --train, or leave it out of --passes."
        )


def _operators(graph: onnx.GraphProto) -> list[str]:
    """The operator types of a graph and of the graphs within it."""
    found: list[str] = []
    for node in graph.node:
        found.append(node.op_type)
        for attribute in node.attribute:
            found += [name for inner in (attribute.g, *attribute.graphs) for name in _operators(inner)]
    return found


def _share(trial: Trial, rows: Rows, folder: Path) -> Path:
    """Write what trials read."""
    folder.mkdir(parents=True)
    (folder / "interface.json").write_bytes(dump(trial.conversion.interface))
    (folder / "artifact.json").write_bytes(dump(trial.artifact))
    write_tensors(folder / "selection.npz", rows.selection.inputs)
    if rows.calibration is not None:
        write_tensors(folder / "calibration.npz", rows.calibration.inputs)
    if rows.training is not None:
        answers: dict[str, Array] = {} if rows.training.target is None else {"": rows.training.target}
        write_tensors(folder / "training.npz", {**rows.training.inputs, **answers})
    return folder


def answers_of(entrant: Entrant, rows: Rows) -> dict[str, Array]:
    """Return an entrant's answers on the selection rows."""
    return run_in_pieces(entrant.engine, rows.selection.inputs)
