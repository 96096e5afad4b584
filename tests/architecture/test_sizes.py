"""Sizes, floors that import-linter does not see, and what stands nowhere: the house rules as tests."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fairlead"
FILES = sorted(SOURCE.rglob("*.py"))
PYTHON = sorted(path for folder in ("src", "tests", "benchmarks", "examples", "scripts") for path in (ROOT / folder).rglob("*.py"))
FILE_LIMIT = 400
FUNCTION_LIMIT = 60
HEAVY = ("onnx", "onnxruntime", "h5py", "pyarrow", "sklearn", "keras", "torch", "jax", "numpy", "uvloop", "yaml", "msgspec")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Facts:
    """What the rules below ask of a source file, so that it is parsed once."""

    has_docstring: bool
    has_broad_except: bool
    has_assert: bool
    long_functions: tuple[str, ...]


@functools.cache
def facts() -> dict[str, Facts]:
    return {name(path): facts_of(ast.parse(path.read_text())) for path in FILES}


def facts_of(tree: ast.Module) -> Facts:
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = tuple(node.name for node in functions if node.end_lineno - node.lineno + 1 > FUNCTION_LIMIT)
    return Facts(bool(ast.get_docstring(tree)), any(map(is_broad, nodes)), any(isinstance(node, ast.Assert) for node in nodes), long)


def is_broad(node: ast.AST) -> bool:
    """Whether it catches everything, and does not end by raising it again: that only cleans up."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    last, is_all = node.body[-1], node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
    return is_all and not (isinstance(last, ast.Raise) and last.exc is None)


def test_no_file_is_longer_than_400_lines() -> None:
    assert [name(path) for path in PYTHON if len(path.read_text().splitlines()) > FILE_LIMIT] == []


def test_no_function_is_longer_than_60_lines() -> None:
    assert {path: found.long_functions for path, found in facts().items() if found.long_functions} == {}


def test_that_what_breaks_a_rule_is_found() -> None:
    long = "def long():\n" + "    x = 1\n" * FUNCTION_LIMIT
    swallows = "try:\n    f()\nexcept Exception:\n    assert x\n"
    cleans_up = '"""Said."""\ntry:\n    f()\nexcept BaseException:\n    g()\n    raise\n'
    assert facts_of(ast.parse(long + swallows)) == Facts(False, True, True, ("long",))
    assert facts_of(ast.parse(cleans_up)) == Facts(True, False, False, ())


def test_no_room_is_called_utils() -> None:
    assert not [name(path) for path in FILES if {path.stem, *path.relative_to(SOURCE).parts} & BANNED_NAMES]


def test_every_step_has_one_door_with_one_public_function() -> None:
    steps = ("ingest", "plan", "convert", "optimize", "verify", "register", "serve", "monitor", "explain", "ship", "probe")
    for step in steps:
        tree = ast.parse((SOURCE / step / "stage.py").read_text())
        public = [
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        ]
        assert len(public) == 1, f"{step}/stage.py offers {public}"


def test_every_module_says_what_it_is() -> None:
    assert [path for path, found in facts().items() if not found.has_docstring] == []


def test_importing_fairlead_loads_no_library() -> None:
    code = "import sys, fairlead; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(HEAVY) & set(loaded)


def test_asking_for_help_loads_no_library() -> None:
    code = (
        "import sys; from fairlead.cli.main import run; run(['--help']); "
        "print('LOADED', *sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not set(HEAVY) & set(printed.partition("LOADED")[2].split())


# Where `except Exception` may stand, and why.
BROAD_EXCEPTS = {
    "src/fairlead/app/recording.py": "a mistake of ours in one parcel must not end the writing of what comes after; it is reported",
    "src/fairlead/cli/main.py": "a defect must not show a trace to a person who did nothing wrong",
    "src/fairlead/convert/keras_file_to_onnx.py": "an exporter raises whatever an operator without a converter raises",
    "src/fairlead/convert/saved_model_to_onnx.py": "TensorFlow's converter raises whatever an operator without a .tflite form raises",
    "src/fairlead/convert/tensorflow_export.py": "an exporter raises whatever an operator without a converter raises",
    "src/fairlead/convert/tensorflow_to_tflite.py": "TensorFlow's converter raises whatever an operator without a .tflite form raises",
    "src/fairlead/convert/torch_export.py": "PyTorch's exporters and onnxslim raise whatever a graph that they cannot follow makes them",
    "src/fairlead/convert/torch_original.py": "likewise",
    "src/fairlead/engines/export_proof.py": "an original raises whatever it likes for rows that it does not take; the next are tried",
    "src/fairlead/engines/keras_worker.py": "Keras raises whatever a layer raises; all of it means that it cannot open or run the file",
    "src/fairlead/engines/tensorflow_worker.py": "TensorFlow raises whatever a node raises; all of it means that it cannot run the model",
    "src/fairlead/engines/torch_rows.py": "a model's own code raises whatever it likes for rows that it does not take; the next are tried",
    "src/fairlead/monitor/meter.py": "a mistake in what is counted or told of requests must not fail one of them; it is reported",
    "src/fairlead/optimize/passes/slim_graph.py": "onnxslim raises whatever a graph that it cannot follow makes it; the pass is refused",
    "src/fairlead/security/estimator_file.py": "an estimator's __setstate__ may raise anything for the state of another release",
    "src/fairlead/security/resident_child.py": "the same, for what a model that stays is asked",
    "src/fairlead/security/sandbox_child.py": "a library may raise anything for foreign bytes; it is reported by kind, never swallowed",
    "src/fairlead/security/torch_class.py": "importing and making the user's own class runs the user's code",
    "src/fairlead/security/torch_file.py": "PyTorch raises whatever a damaged graph makes it raise",
    "src/fairlead/serve/collect/api.py": "the last resort: a mistake of ours becomes a 500 and a report, never the end of the collector",
    "src/fairlead/serve/collect/collector.py": "a mistake of ours in one event must not end the collecting of all others; it is reported",
    "src/fairlead/serve/follower.py": "whatever a registry or a load raises, what serves goes on serving; it is reported",
    "src/fairlead/serve/grpc/gate.py": "the last resort: a mistake of ours becomes INTERNAL and a report, never the end of the server",
    "src/fairlead/serve/http/api.py": "the last resort: a mistake of ours becomes a 500 and a report, never the end of the server",
    "src/fairlead/serve/http/direct.py": "the last resort: a mistake of ours becomes a 500 and a report, never the end of the server",
    "src/fairlead/serve/http/eager.py": "hands what was thrown, cancellation included, on to the coroutine that it belongs to",
    "src/fairlead/serve/record.py": "a mistake of ours in keeping an answer must not lose one that is on its way; it is reported",
    "src/fairlead/serve/scheduler.py": "whatever an engine raises belongs to those who asked it, and to nobody else",
    "src/fairlead/serve/loading.py": "hands whatever a load raised on to the one who awaits it, who is told its kind",
    "src/fairlead/serve/traffic_split.py": "the last resort: a mistake of ours in counting must not lose an answer that is on its way",
    "src/fairlead/serve/traffic_witness.py": "the same; it is reported with its trace",
    "src/fairlead/serve/traffic_mirror.py": "whatever a candidate raises for a request that it is only shown is no caller's; it is counted",
    "src/fairlead/serve/server.py": "hands what ended the server's thread on to the thread that started it",
    "src/fairlead/serve/threads.py": "hands what a call in a thread raised on to the one who awaits it",
    "src/fairlead/verify/quality.py": "the user's own metric function may raise anything",
    "src/fairlead/serve/workers/worker_loop.py": "what an engine raises for a request is the answer to that request; the process goes on",
    "src/fairlead/serve/workers/zygote.py": "a library may raise anything for a file; the front says it to whoever waits for the version",
}


def test_broad_excepts_stand_only_where_a_reason_is_listed() -> None:
    assert {path for path, found in facts().items() if found.has_broad_except} == set(BROAD_EXCEPTS)


def test_source_raises_and_never_asserts() -> None:
    assert [path for path, found in facts().items() if found.has_assert] == []


def test_no_file_names_a_package_index() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "index" + "-url =")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    named = [path for path in tracked if (ROOT / path).suffix not in {".h5", ".keras", ".npz"} and (ROOT / path).is_file()]
    assert not [path for path in named if any(host in (ROOT / path).read_text(errors="ignore") for host in hosts)]
