"""Other names for the inputs and outputs of an ONNX file. For the sandboxed worker: the file came from elsewhere.

`rename_file` starts the worker and returns the new file. Raises UnsupportedError where a name cannot be changed. Nothing but names differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import CorruptError, UnsupportedError

_ENTRY = "fairlead.convert.tensor_names:rename_in_sandbox"
_FILE = "renamed.onnx"


def rename_file(path: Path, names: Mapping[str, str], scratch: Path, sandbox: Sandbox) -> Path:
    """Write the ONNX file at `path` into `scratch` with other names (own -> new) for its inputs and outputs."""
    sandbox.run(SandboxJob(_ENTRY, scratch, {"path": str(path), "names": dict(names)}, (path.parent,)))
    written = scratch / _FILE
    if written.is_symlink() or not written.is_file():
        raise CorruptError("Renaming the tensors left no file.", hint="Export the model again.")
    return written


def rename_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: write scratch/renamed.onnx."""
    import onnx  # noqa: PLC0415 - only the sandboxed child opens the file

    model = onnx.load_model(arguments["path"], load_external_data=False)
    rename(model, {str(own): str(new) for own, new in arguments["names"].items()})
    onnx.save_model(model, Path(arguments["scratch"]) / _FILE)
    return {}


def rename(model: Any, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs of the ONNX model in place; what inside already has such a name gets out of the way."""
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    if missing := set(names) - ends:
        raise UnsupportedError(f"The file has no input or output '{min(missing)}'.", hint="Leave out --rename.")
    used = _names_in(model.graph)
    wanted = dict(names)
    for name in sorted(used & set(names.values()) - set(names)):
        wanted[name] = next(free for number in range(len(used) + 1) if (free := f"{name}__inner{number or ''}") not in used)
    _rename_graph(model.graph, wanted)


def _names_in(graph: Any) -> set[str]:
    found = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found |= {*node.input, *node.output}
        for inner in _inner_graphs(node):
            found |= _names_in(inner)
    return found


def _rename_graph(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inner_graphs(node):
            _rename_graph(inner, names)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for note in graph.quantization_annotation:
        note.tensor_name = names.get(note.tensor_name, note.tensor_name)


def _inner_graphs(node: Any) -> list[Any]:
    """Return the branches and bodies of a node: they see the names around them, and may not hide one."""
    return [graph for attribute in node.attribute for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)]
