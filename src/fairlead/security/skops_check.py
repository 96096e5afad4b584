"""What a skops file would import and call, read from its schema without opening it.

Takes a path, gives findings. Raises SourceError for damage, UnsafeContentError for an archive that no honest writer makes. Every node's
`__module__` and `__class__` has to be on the same list of exact names as for pickles, its loader on a short list of our own, and every
member of the archive has to belong to a node. skops audits again when it loads, with exactly the types found here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairlead.core.artifact import Finding
from fairlead.core.interface import shorten
from fairlead.errors import SourceError
from fairlead.security.archive import Budget, ZipMembers, open_zip
from fairlead.security.pickle_check import is_allowed

_SCHEMA = "schema.json"
_SCHEMA_LIMIT_BYTES = 256 * 2**20
_DEPTH_LIMIT = 200
# Loaders that build what a node names and nothing else. Left out: methods, partial functions, operators, forests of other packages.
_LOADERS = frozenset({
    "BytearrayNode", "BytesNode", "CachedNode", "ConstructorFromReduceNode", "DTypeNode", "DefaultDictNode", "DictNode", "FunctionNode",
    "JsonNode", "ListNode", "LossNode", "MaskedArrayNode", "NdArrayNode", "ObjectNode", "RandomGeneratorNode", "RandomStateNode", "SetNode",
    "SliceNode", "SparseMatrixNode", "TreeNode", "TupleNode", "TypeNode",
})  # fmt: skip
_BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_KEYS_OF_CLASSES = {"__module__", "__class__", "__loader__"}


def check_skops(path: Path) -> tuple[Finding, ...]:
    """Return what is unsafe in a skops file."""
    with open_zip(path, Budget(member_count=100_000)) as members:
        nodes = list(_nodes(_schema(members)))
        names = members.names
    found: dict[str, Finding] = {}
    files = {_SCHEMA}
    for node in nodes:
        for what in _complaints(node):
            found.setdefault(what, Finding(is_unsafe=True, what=what, where=_SCHEMA))
        files.add(str(node.get("file", _SCHEMA)))
    for name in names:
        if name not in files:
            what = f"member {shorten(name)} belongs to nothing"
            found.setdefault(what, Finding(is_unsafe=True, what=what, where=shorten(name)))
    return tuple(found.values())[:100]


def trusted_types(path: Path) -> list[str]:
    """Return the names of all types in a file that `check_skops` found safe, as skops wants them."""
    with open_zip(path, Budget(member_count=100_000)) as members:
        nodes = list(_nodes(_schema(members)))
    return sorted({f"{node['__module__']}.{node['__class__']}" for node in nodes})


def _schema(members: ZipMembers) -> Any:
    try:
        return json.loads(members.read(_SCHEMA, limit_bytes=_SCHEMA_LIMIT_BYTES))
    except (ValueError, RecursionError):
        raise SourceError("The skops file's schema is damaged.", hint="Copy or save it again.") from None


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the schema that names a class or a loader, wherever it stands."""
    stack = [(root, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > _DEPTH_LIMIT:
            raise SourceError(f"The skops file's schema is nested deeper than {_DEPTH_LIMIT}.", hint="Save the model again.")
        if isinstance(item, dict):
            if _KEYS_OF_CLASSES & item.keys():
                yield item
            stack.extend((value, depth + 1) for value in item.values())
        elif isinstance(item, list):
            stack.extend((value, depth + 1) for value in item)


def _complaints(node: dict[str, Any]) -> Iterator[str]:
    module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
    if not isinstance(module, str) or not isinstance(name, str) or "." in str(name):
        yield "a node does not say which class it is"
        return
    if loader not in _LOADERS:
        yield f"loader {shorten(str(loader))} is not on the allow-list"
    if not is_allowed(module, name):
        yield f"global {shorten(f'{module}.{name}', 120)} is not on the allow-list"
    if loader == "RandomGeneratorNode" and _bit_generator(node) not in _BIT_GENERATORS:
        yield "a random generator is of an unknown kind"
    file = node.get("file")
    if file is not None and not isinstance(file, str):
        yield "a node's file is not a name"


def _bit_generator(node: dict[str, Any]) -> object:
    """Return the name by which skops looks up the generator: JSON inside of JSON."""
    try:
        return json.loads(node["content"]["bit_generator"]["content"]["bit_generator"]["content"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
