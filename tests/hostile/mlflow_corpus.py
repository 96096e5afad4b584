"""MLflow folders made to do harm: paths that leave the folder, YAML that builds objects, flavors that name code to import."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

from corpus import Case

CONTROLS = {
    "yaml": "import yaml; yaml.unsafe_load(open(path + '/MLmodel'))",
    "pickle-in-folder": "import pickle; pickle.load(open(path + '/model.pkl', 'rb'))",
    "code-of-folder": "import sys; sys.path.insert(0, path + '/code'); import loader",
}
_PATHS = (
    *("../outside.pkl", "/etc/passwd", "a/../../outside.pkl", "..\\outside.pkl", "C:\\outside.pkl", "file:///etc/passwd"),
    *("~/outside.pkl", "%2e%2e%2foutside.pkl", "x\\0y"),
)


def _folder(folder, text, files=()):
    place = folder / "model"
    place.mkdir()
    (place / "MLmodel").write_text(text)
    for name, data in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def _sklearn(path="model.pkl"):
    quoted = '"' + path.replace("\\", "\\\\").replace("\\\\0", "\\0") + '"'
    return f"flavors:\n  sklearn:\n    pickled_model: {quoted}\n    serialization_format: pickle\n"


def _leaving(path):
    def build(folder, canary):
        (folder / "outside.pkl").write_bytes(_payload(canary))
        return _folder(folder, _sklearn(path), [("model.pkl", pickle.dumps([1]))])

    return build


def _payload(canary):
    class Touch:
        def __reduce__(self):
            return open, (str(canary), "w")

    return pickle.dumps(Touch())


def _tagged(folder, canary):
    return _folder(folder, f"flavors: !!python/object/apply:builtins.open ['{canary}', 'w']\n")


def _bomb(folder, canary):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    return _folder(folder, "\n".join([*lines, _sklearn()]), [("model.pkl", pickle.dumps([1]))])


def _cycle(folder, canary):
    return _folder(folder, "a: &a\n  b: *a\n" + _sklearn(), [("model.pkl", pickle.dumps([1]))])


def _huge(folder, canary):
    return _folder(folder, "x: " + "y" * (3 * 2**20) + "\n" + _sklearn(), [("model.pkl", pickle.dumps([1]))])


def _deep(folder, canary):
    return _folder(folder, "x: " + "[" * 5000 + "]" * 5000 + "\n" + _sklearn(), [("model.pkl", pickle.dumps([1]))])


def _symlink(folder, canary):
    (folder / "outside.pkl").write_bytes(_payload(canary))
    place = _folder(folder, _sklearn())
    (place / "model.pkl").symlink_to(folder / "outside.pkl")
    return place


def _hard_link(folder, canary):
    (folder / "outside.pkl").write_bytes(_payload(canary))
    place = _folder(folder, _sklearn())
    (place / "model.pkl").hardlink_to(folder / "outside.pkl")
    return place


def _pickle(folder, canary):
    return _folder(folder, _sklearn(), [("model.pkl", _payload(canary))])


def _code(folder, canary):
    text = "flavors:\n  python_function:\n    loader_module: loader\n    code: code\n    data: model.pkl\n"
    return _folder(folder, text, [("code/loader.py", f"open({str(canary)!r}, 'w')".encode()), ("model.pkl", pickle.dumps([1]))])


def hostile_cases() -> Iterator[Case]:
    why = "no code: a path"
    for path in _PATHS:
        yield Case("A03", f"mlflow-path {path!r}", _leaving(path), why_not=why)
    yield Case("A05", "mlflow-symlink", _symlink, "pickle-in-folder")
    yield Case("A04", "mlflow-hard-link", _hard_link, "pickle-in-folder")
    yield Case("M01", "mlflow-yaml-tag", _tagged, "yaml")
    yield Case("M02", "mlflow-yaml-bomb", _bomb, why_not="no code: memory")
    yield Case("M02", "mlflow-yaml-cycle", _cycle, why_not="no code: an endless loop")
    yield Case("M02", "mlflow-yaml-huge", _huge, why_not="no code: memory")
    yield Case("M02", "mlflow-yaml-deep", _deep, why_not="no code: the stack")
    yield Case("F01", "mlflow-pickle", _pickle, "pickle-in-folder")
    yield Case("M03", "mlflow-loader-module", _code, "code-of-folder")
