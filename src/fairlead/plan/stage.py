"""Step 2: facts, requirements and target -> candidates in the order in which they are worth trying, each with its reason.

Pure. What answers as the original does comes first; compressed forms follow where the promise says what may be lost and `means` say which
passes there are. Raises RequirementError where no candidate can keep a requirement whatever is measured, UnsupportedError for hardware that
no engine runs on. It measures nothing, builds nothing, and promises nothing: verify decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fairlead.core.artifact import ArtifactForm
from fairlead.core.conversion import ENGINE_OF_FORM, RuntimeForm
from fairlead.core.plan import Candidate, Plan
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.target import Target
from fairlead.errors import RequirementError, UnsupportedError
from fairlead.plan.families import Means, compressed

_ENGINE = ENGINE_OF_FORM[RuntimeForm.ONNX]
_CLEAN = ("clean_graph",)
_FLOAT_BYTES = 4
# Forms beside ONNX, the artifacts that can have them, and the reason to try them.
_OTHERS: Mapping[RuntimeForm, tuple[frozenset[ArtifactForm], str]] = {
    RuntimeForm.OPENVINO: (
        frozenset(ArtifactForm) - {ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ESTIMATOR_FILE, ArtifactForm.BOOSTER_FILE},
        "OpenVINO fuses convolutions and attention in other ways; on some machines it is faster",
    ),
    RuntimeForm.TFLITE: (
        frozenset({ArtifactForm.LAYER_GRAPH, ArtifactForm.KERAS_FILE, ArtifactForm.SAVED_MODEL, ArtifactForm.TFLITE_FILE}),
        "LiteRT has the least overhead for small networks",
    ),
    RuntimeForm.TREES: (
        frozenset({ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ESTIMATOR_FILE}),
        "a kernel for trees alone walks many rows at once",
    ),
}
_ORIGINALS: Mapping[RuntimeForm, tuple[ArtifactForm, str]] = {
    RuntimeForm.TORCH: (ArtifactForm.TORCH_FILE, "PyTorch itself in a process of its own: only where the model has no ONNX form"),
    RuntimeForm.PYTHON: (ArtifactForm.ESTIMATOR_FILE, "the estimator itself in a process of its own: only where it has no ONNX form"),
    RuntimeForm.BOOSTER: (ArtifactForm.BOOSTER_FILE, "the library that trained it in a process of its own: only where it has no ONNX form"),
}


def plan(
    facts: Mapping[str, int | float | str],
    form: ArtifactForm,
    requirements: Sequence[Requirement],
    target: Target,
    means: Means | None = None,
) -> Plan:
    """Return the plan for an artifact of `form` with `facts`; the candidates come out the same for equal arguments.

    Without `means`, no compressed form is among them.
    """
    if target.hardware != "cpu":
        raise UnsupportedError(f"No engine runs on '{target.hardware}'.", hint="Use hardware cpu.")
    threads = _thread_limit(requirements, target)
    timed = [item for item in requirements if item.kind in (MetricKind.LATENCY, MetricKind.THROUGHPUT)]
    candidates = [
        Candidate(
            "as-converted",
            (),
            _ENGINE,
            1,
            f"the converted model itself{_size_of(facts)}; one thread leaves the other cores to other requests",
        ),
        *(_other(kind, reason) for kind, (forms, reason) in _OTHERS.items() if form in forms and _may_have(kind, means)),
        Candidate(
            "clean-graph", _CLEAN, _ENGINE, 1, "the same answers from a graph without dead and constant parts: smaller, loads faster"
        ),
    ]
    if means is not None and "merge_splits" in means.passes and _is_trees(form, means):
        candidates.append(Candidate("merge-splits", ("merge_splits",), _ENGINE, 1, "the same answers from trees without idle splits"))
    refused = []
    name = f"clean-graph-{threads}-threads"
    if threads > 1 and timed:
        candidates.append(Candidate(name, _CLEAN, _ENGINE, threads, f"{threads} threads for one call, since '{timed[0]}' may need them"))
    elif threads > 1:
        refused.append((name, "no requirement on speed: one thread per call serves more requests at once"))
    outlooks, ruled_out = compressed(
        requirements, means or Means(), weight_bytes=_weight_bytes(facts, means), is_trees=_is_trees(form, means)
    )
    candidates += [outlook.candidate for outlook in outlooks]
    candidates += [_other(kind, reason) for kind, (original, reason) in _ORIGINALS.items() if form is original]
    return Plan(tuple(requirements), target, tuple(candidates), (*refused, *ruled_out))


def _may_have(kind: RuntimeForm, means: Means | None) -> bool:
    """Whether nothing that is known of the model speaks against a form: the kernel for trees needs trees."""
    return kind is not RuntimeForm.TREES or means is None or means.model is None or means.is_trees


def _is_trees(form: ArtifactForm, means: Means | None) -> bool:
    """Whether the model is an ensemble of trees: as its graph says, or as its form does."""
    return means.is_trees if means is not None and means.model is not None else form is ArtifactForm.TREE_ENSEMBLE


def _weight_bytes(facts: Mapping[str, int | float | str], means: Means | None) -> int:
    """Return the bytes of the weights: as counted in the graph, else four for each parameter; 0 where neither is known."""
    if means is not None and means.weight_bytes:
        return means.weight_bytes
    count = facts.get("parameter_count")
    return count * _FLOAT_BYTES if isinstance(count, int) else 0


def _other(form: RuntimeForm, reason: str) -> Candidate:
    return Candidate(form.value, (), ENGINE_OF_FORM[form], 1, reason, form.value)


def _thread_limit(requirements: Sequence[Requirement], target: Target) -> int:
    """Threads that a call may compute on: the target's cores, or fewer where `cores<=n` says so."""
    bounds = [item for item in requirements if item.kind is MetricKind.HARDWARE]
    for item in bounds:
        if item.bound < 1:
            raise RequirementError(f"'{item}' leaves less than one core.", hint="Use cores<=1 or more.")
    return max(min([target.core_count, *(math.floor(item.bound) for item in bounds)]), 1)


def _size_of(facts: Mapping[str, int | float | str]) -> str:
    count = facts.get("parameter_count")
    return f" ({count:,} parameters)" if isinstance(count, int) else ""
