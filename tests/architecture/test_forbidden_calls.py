"""What must not stand in product code (F04, F19): calls that run text, load foreign objects or weaken a loader."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "execfile", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
    "marshal.loads", "shelve.open", "dill.load", "dill.loads", "cloudpickle.load", "joblib.load", "torch.load",
    "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "runpy.run_path", "runpy.run_module", "code.interact", "tarfile.open", "shutil.unpack_archive", "numpy.fromfile",
}  # fmt: skip
FORBIDDEN_ENDINGS = {"extractall"}
FORBIDDEN_ARGUMENTS = {("shell", True), ("weights_only", False), ("allow_pickle", True), ("trust_remote_code", True), ("safe_mode", False)}
# path below src/fairlead: what it may do, with the reason
ALLOWED = {
    ("security/estimator_file.py", "pickle._Unpickler"),  # the one place that unpickles, by the allow-list
    ("security/pickle_check.py", "pickle._Unpickler"),  # with inert stand-ins
    ("app/spec.py", "yaml.load"),  # with its own, stricter kind of SafeLoader
}
ALIASES = {"np": "numpy"}


def offences(source, name):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            is_wrong = called in FORBIDDEN_CALLS or called.rpartition(".")[2] in FORBIDDEN_ENDINGS
            if is_wrong and (name, called) not in ALLOWED:
                found.append(f"{name}:{node.lineno} calls {called}")
            given = [(item.arg, item.value.value) for item in node.keywords if isinstance(item.value, ast.Constant)]
            found += [f"{name}:{node.lineno} passes {key}={value}" for key, value in given if (key, value) in FORBIDDEN_ARGUMENTS]
        elif isinstance(node, ast.Attribute) and dotted(node) == "pickle._Unpickler" and (name, "pickle._Unpickler") not in ALLOWED:
            found.append(f"{name}:{node.lineno} uses pickle._Unpickler")
        elif isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "dill", "cloudpickle"):
            found.append(f"{name}:{node.lineno} imports from {node.module}: write the module's name where it is used")
        elif isinstance(node, ast.Attribute) and node.attr == "UnsafeLoader":
            found.append(f"{name}:{node.lineno} uses UnsafeLoader")
    return found


def dotted(node):
    if isinstance(node, ast.Name):
        return ALIASES.get(node.id, node.id)
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def test_product_code_runs_no_text_and_loads_no_foreign_objects():
    root = Path(__file__).parents[2] / "src" / "fairlead"
    assert [line for path in SOURCES for line in offences(path.read_text(), str(path.relative_to(root)))] == []


@pytest.mark.parametrize(
    "planted",
    [
        "eval('1')", "exec(text)", "import os\nos.system('id')", "import pickle\npickle.loads(data)", "from pickle import loads",
        "import subprocess\nsubprocess.run('id', shell=True)", "np.load(path, allow_pickle=True)", "torch.load(path, weights_only=False)",
        "import pickle\nclass A(pickle._Unpickler): pass", "archive.extractall(path)", "yaml.load(text)",
        "yaml.load(text, yaml.UnsafeLoader)",
        "keras.models.load_model(path, safe_mode=False)", "joblib.load(path)", "compile(text, 'x', 'exec')",
    ],
)  # fmt: skip
def test_a_planted_offence_is_caught(planted):
    assert offences(planted, "app/planted.py")


@pytest.mark.parametrize("harmless", ["re.compile('a')", "json.loads(text)", "np.load(path, allow_pickle=False)", "yaml.safe_load(text)"])
def test_harmless_calls_pass(harmless):
    assert offences(harmless, "app/planted.py") == []
