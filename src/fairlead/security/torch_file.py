"""Opens a PyTorch file: an exported program, TorchScript, or weights with the class that the user names. For the sandboxed worker only.

Takes a path, its format and what the user said beside it; gives an OpenModel that answers tensors with tensors. torch sees archives
that `security.torch_check` rebuilt, and weights only as numbers: its unpickler is never called. Raises what the checks raise,
MissingExtraError without torch, UnsupportedError for weights that do not fit the class, SpecError where the user has to say more.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.artifact import SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec, shorten
from fairlead.errors import MissingExtraError, SourceError, SpecError, UnsafeContentError, UnsupportedError
from fairlead.security.torch_check import Checked, check_program, check_script
from fairlead.security.torch_class import build_module
from fairlead.security.torch_code import PRIMITIVES
from fairlead.security.torch_program import allowed_operators
from fairlead.security.torch_state import read_state

OLDEST = (2, 10)  # CVE-2025-32434 and CVE-2026-24747 are fixed in it (F02, F03)
# prim:: operators that torch itself makes of code; what reaches outside of tensors (rpc, PythonOp, Print) is not among them.
_STRUCTURE = frozenset((
    "Constant", "ListConstruct", "ListUnpack", "TupleConstruct", "TupleUnpack", "TupleIndex", "TupleSlice", "DictConstruct", "GetAttr",
    "If", "Loop", "isinstance", "annotate", "Param", "Return",
)) | PRIMITIVES  # fmt: skip
_SAVE_AGAIN = "Export the model again with torch.export.save, or convert it to ONNX where it was trained."


@dataclass(frozen=True)
class OpenModel:
    """An open model in inference mode.

    `inputs` are the names and shapes that it takes, in order: a size is a number, or the expression (text or sympy) of a free one; `limits`
    are the smallest and largest value of each free size by name. `call` takes tensors in that order and gives what the model gives.
    """

    kind: str  # "program", "script" or "module"
    inner: Any
    inputs: tuple[TensorSpec, ...]
    axes: tuple[tuple[Any, ...], ...]
    call: Any
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    parameter_count: int = 0
    operators: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def start_torch(thread_count: int = 1) -> Any:
    """Import torch and return it; raises MissingExtraError without it, UnsupportedError for a release with known holes."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise MissingExtraError("torch", needed_for="A PyTorch model") from None
    found = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise UnsupportedError(f"PyTorch {torch.__version__} has known holes.", hint="Install torch 2.10 or later: pip install -U torch")
    torch.set_num_threads(thread_count)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    return torch


def open_model(path: Path, source_format: str, options: Mapping[str, Any], scratch: Path) -> OpenModel:
    """Return the model in the file at `path`; the rebuilt archive is written into `scratch` and removed."""
    torch = start_torch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of torch's own, and of the user's class
        if source_format == SourceFormat.TORCH_EXPORTED:
            return _open_program(torch, path, scratch)
        inputs = tuple(_spec(item) for item in options.get("inputs", ()))
        if source_format == SourceFormat.TORCH_SCRIPT:
            return _open_script(torch, path, inputs, scratch)
        return _open_weights(torch, path, source_format, options, inputs)


def _spec(plain: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if axis == 0 else size for axis, size in enumerate(plain["shape"]))
    return TensorSpec(str(plain["name"]), DType(plain["dtype"]), shape, tuple(plain.get("columns", ())))


def _open_program(torch: Any, path: Path, scratch: Path) -> OpenModel:
    target = scratch / "checked.pt2"
    try:
        checked = check_program(path, target)
        program = _load(torch.export.load, target)
    finally:
        target.unlink(missing_ok=True)
    return wrap_program(program, checked)


def _load(loader: Any, target: Path) -> Any:
    try:
        return loader(str(target))
    except Exception as error:  # torch raises whatever a damaged graph makes it raise
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SourceError(f"PyTorch does not open the file: {shorten(first, 200)}.", hint=_SAVE_AGAIN) from error


def wrap_program(program: Any, checked: Checked) -> OpenModel:
    """Return an exported program as an OpenModel."""
    tree = importlib.import_module("torch.utils._pytree")
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    leaves = [spec.arg for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    names = [leaf.name if hasattr(values.get(leaf.name), "dtype") else "" for leaf in leaves]
    inputs, axes = [], []
    for name in filter(None, names):
        sizes = tuple(size if isinstance(size, int) else size.node.expr for size in values[name].shape)
        inputs.append(TensorSpec(name, element_type(values[name].dtype), tuple(size if isinstance(size, int) else None for size in sizes)))
        axes.append(sizes)
    module = program.module(check_guards=False)  # guards are text that would be run; ours are checks of shapes

    def call(tensors: Sequence[Any]) -> Any:
        given = iter(tensors)
        flat = [next(given) if name else leaf.value for name, leaf in zip(names, leaves, strict=True)]
        arguments, named = tree.tree_unflatten(flat, program.call_spec.in_spec)
        return module(*arguments, **named)

    limits = {str(symbol): (_bound(item.lower, 0), _bound(item.upper, 2**31)) for symbol, item in program.range_constraints.items()}
    return OpenModel(
        "program", program, tuple(inputs), tuple(axes), call, limits, frozenset(checked.devices), checked.parameter_count,
        checked.operators, tuple(checked.notes),
    )  # fmt: skip


def _bound(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return otherwise


def element_type(dtype: Any) -> DType:
    """Return the type of a torch dtype; raises UnsupportedError for those that no request can hold."""
    name = str(dtype).removeprefix("torch.")
    known = {"float32": DType.FP32, "float64": DType.FP64, "float16": DType.FP16, "bool": DType.BOOL}
    known |= {kind: DType(kind.upper()) for kind in ("uint8", "int8", "int16", "int32", "int64")}
    if name not in known:
        raise UnsupportedError(f"The model takes or gives values of type {name}.", hint="Let it take and give float32 (model.float()).")
    return known[name]


def _open_script(torch: Any, path: Path, inputs: tuple[TensorSpec, ...], scratch: Path) -> OpenModel:
    if not inputs:
        raise SpecError("A TorchScript file does not record what it takes.", hint="Give --input 'x=float32[batch,3,224,224]', or --data.")
    target = scratch / "checked.pt"
    try:
        checked = check_script(path, target)
        script = _load(lambda place: torch.jit.load(place, map_location="cpu"), target)
    finally:
        target.unlink(missing_ok=True)
    operators = _check_graph(script)
    script.eval()
    names = [(item.name, not item.has_default_value()) for item in script.forward.schema.arguments[1:]]
    return _with_inputs("script", script, inputs, names, frozenset(checked.devices), {"notes": (), "operators": operators})


def _check_graph(script: Any) -> dict[str, int]:
    """Return how often each operator is called in what `forward` really runs; every kind of node is on the allow-list."""
    counts: dict[str, int] = {}
    try:
        graph = script.inlined_graph  # its nodes live as long as it does
    except AttributeError:
        raise UnsupportedError("The TorchScript module has no single forward.", hint="Wrap it in a module with one forward.") from None
    except RuntimeError as error:
        raise SourceError(f"PyTorch does not compile the file: {shorten(str(error), 200)}.", hint=_SAVE_AGAIN) from error
    pending = [graph]
    while pending:
        for node in pending.pop().nodes():
            space, _, name = node.kind().partition("::")
            if name not in {"aten": allowed_operators(), "prim": _STRUCTURE}.get(space, frozenset()):
                raise UnsafeContentError(
                    f"The model file is not opened: operator {shorten(node.kind(), 120)} is not on the allow-list.",
                    hint="Operators of namespace aten that compute on tensors are read; a model that keeps a state is not served.",
                )
            counts[name] = counts.get(name, 0) + (space == "aten")
            pending += node.blocks()
    return {name: count for name, count in counts.items() if count}


def _open_weights(torch: Any, path: Path, source_format: str, options: Mapping[str, Any], inputs: tuple[TensorSpec, ...]) -> OpenModel:
    state = read_state(path, source_format)
    if not options.get("model_class"):
        raise SpecError("The file holds weights only; the class that they belong to is missing.", hint="Give --model-class module:Class.")
    if not inputs:
        raise SpecError(
            "A file of weights does not record what the model takes.", hint="Give --input 'x=float32[batch,3,224,224]', or --data."
        )
    module, notes = build_module(torch, state, str(options["model_class"]), options.get("model_arguments", {}))
    parameters = inspect.signature(module.forward).parameters.values()
    taken = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    names = [(item.name, item.default is item.empty) for item in taken]
    return _with_inputs("module", module, inputs, names, state.devices, {"notes": (*state.notes, *notes)})


def _with_inputs(
    kind: str, model: Any, inputs: tuple[TensorSpec, ...], names: Sequence[tuple[str, bool]], devices: frozenset[str], more: dict[str, Any]
) -> OpenModel:
    """Return the model with the inputs that the user gave: by name, or the only one in the place of the only one that is needed."""
    known = [name for name, _ in names]
    needed = [name for name, is_needed in names if is_needed]
    given = [spec.name for spec in inputs]
    by_name = set(given) <= set(known) and set(needed) <= set(given)
    if not by_name and (len(given) > 1 or len(needed) > 1 or not known):
        raise SpecError(
            f"The model takes {shorten(', '.join(known), 200)}; the inputs given are {shorten(', '.join(given), 200)}.",
            hint="Give one --input for each, or data with arrays of these names.",
        )
    order = given if by_name else [known[0]]
    numbers = [*model.parameters(), *model.buffers()]
    floats = {str(tensor.dtype) for tensor in numbers if tensor.is_floating_point()}
    if floats and "torch.float64" not in floats:
        wide = [spec.name for spec in inputs if spec.dtype is DType.FP64]
        inputs = tuple(TensorSpec(spec.name, DType.FP32, spec.shape, spec.columns) if spec.name in wide else spec for spec in inputs)
        more = more | {"notes": (*more["notes"], *(f"input '{name}' is float32, as the weights are" for name in wide))}

    def call(tensors: Sequence[Any]) -> Any:
        return model(**dict(zip(order, tensors, strict=True)))

    axes = tuple(
        tuple("batch" if axis == 0 else f"{spec.name}.{axis}" if size is None else size for axis, size in enumerate(spec.shape))
        for spec in inputs
    )
    return OpenModel(kind, model, inputs, axes, call, devices=devices, parameter_count=sum(item.numel() for item in numbers), **more)
