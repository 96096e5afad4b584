"""Reads SavedModel folders: checks them, and says what they take and give. Both functions run in the sandbox and need no TensorFlow.

Takes the folder's copy; gives the interface of one signature and facts. Raises SourceError for damage, UnsafeContentError for operators
that are not on the allow-list, UnsupportedError for what Fairlead cannot ask. Never lets TensorFlow open the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm
from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError
from fairlead.ingest.saved_model_interface import choose_signature, describe
from fairlead.security.checkpoint_index import StoredTensor, check_variables
from fairlead.security.saved_model_check import check_graph, open_graph, other_files, reachable, require_safe
from fairlead.security.saved_model_file import SavedGraph
from fairlead.stores.document import to_plain

_CHANGING = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "LookupTableInsertV2", "LookupTableImportV2"})


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reader's answer (see ingest.catalog) for the folder in `arguments["path"]`."""
    folder = Path(arguments["path"])
    graph = open_graph(folder)
    findings = check_graph(graph)
    _check_assets(graph)
    require_safe(findings)
    stored = check_variables(folder / "variables")
    signature = choose_signature(graph, str((arguments.get("options") or {}).get("signature", "")))
    interface = describe(graph, signature)
    _check_unchanging(graph, signature)
    return {
        "interface": to_plain(interface),
        "framework": _framework(graph),
        "form": ArtifactForm.SAVED_MODEL.value,
        "file": "",
        "facts": _facts(graph, signature, stored),
        "notes": [*(finding.what for finding in findings), *_notes(graph, signature, folder)],
    }


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is unsafe in the folder, and the interface where it can be told."""
    folder = Path(arguments["path"])
    graph = open_graph(folder)
    stored = check_variables(folder / "variables")
    answer: dict[str, Any] = {"framework": _framework(graph), "findings": [asdict(item) for item in check_graph(graph)], "notes": []}
    try:
        _check_assets(graph)
        signature = choose_signature(graph, str((arguments.get("options") or {}).get("signature", "")))
        answer["interface"] = to_plain(describe(graph, signature))
    except UnsupportedError as error:
        answer["notes"] = [error.message]
        return answer
    return answer | {"facts": _facts(graph, signature, stored), "notes": _notes(graph, signature, folder)}


def _check_assets(graph: SavedGraph) -> None:
    if graph.assets:
        raise UnsupportedError(
            f"The SavedModel reads files of its own: {', '.join(map(shorten, graph.assets[:5]))}.",
            hint="Export the model without lookups from files: turn texts into numbers before, or give the layer its vocabulary as a list.",
        )


def _check_unchanging(graph: SavedGraph, signature: str) -> None:
    """An answer that changes the model makes the next one another: no version could be proven."""
    outputs = [info.tensor.partition(":")[0] for info in graph.signatures[signature].outputs.values()]
    changing = sorted({node.op for node in reachable(graph, outputs)} & _CHANGING)
    if changing:
        raise UnsupportedError(
            f"The signature '{signature}' changes the model each time it is asked ({', '.join(changing)}).",
            hint="Export a signature for inference only (training=False, no counters, stateful=False).",
        )


def _framework(graph: SavedGraph) -> str:
    made_by = " by Keras 2" if any(name.startswith("_tf_keras_") for name in graph.identifiers) else ""
    return f"tensorflow {shorten(graph.version, 40)}{made_by}".strip()


def _facts(graph: SavedGraph, signature: str, stored: tuple[StoredTensor, ...]) -> dict[str, int | str]:
    outputs = [info.tensor.partition(":")[0] for info in graph.signatures[signature].outputs.values()]
    used = Counter(node.op for node in reachable(graph, outputs) if node.op not in graph.functions)
    return {
        "parameter_count": sum(tensor.element_count for tensor in stored if tensor.is_weight),
        "node_count": used.total(),
        "operators": ", ".join(sorted(used)),
        "signature": signature,
        "tensorflow_version": shorten(graph.version, 40),
    }


def _notes(graph: SavedGraph, signature: str, folder: Path) -> list[str]:
    notes = []
    others = sorted(name for name, item in graph.signatures.items() if item.outputs and name != signature and not name.startswith("__"))
    if others:
        notes.append(f"signature '{signature}' is taken; the others are {', '.join(map(shorten, others[:10]))}")
    ignored = other_files(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if ignored:
        notes.append(
            f"not opened: {', '.join(map(shorten, ignored[:10]))}" + (f" and {len(ignored) - 10} more" if len(ignored) > 10 else "")
        )
    return notes
