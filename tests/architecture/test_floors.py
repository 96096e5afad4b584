"""No cycles between modules, the package root included; every room stands in the import contract."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports_when_loaded(path: Path) -> set[str]:
    """Modules of the package that are imported when `path` is loaded (not those inside functions or for type checkers)."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found & set(MODULES)


def test_there_is_no_cycle_between_modules() -> None:
    graph = {module: imports_when_loaded(path) - {module} for module, path in MODULES.items()}
    while True:
        leaves = {module for module, needed in graph.items() if not needed & set(graph)}
        if not leaves:
            break
        graph = {module: needed for module, needed in graph.items() if module not in leaves}
    assert not graph, f"these modules import each other in a circle: {sorted(graph)}"


def test_every_room_stands_on_a_floor() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    listed = {room.strip() for layer in contract["layers"] for room in layer.split("|")}
    rooms = {f"fairlead.{path.stem}" for path in (SOURCE / "fairlead").iterdir() if path.is_dir() and path.name != "__pycache__"}
    rooms |= {
        f"fairlead.{path.stem}" for path in (SOURCE / "fairlead").glob("*.py") if path.stem not in {"__init__", "_version", "__main__"}
    }
    assert rooms == listed
