"""Builders of bad model files, made at test time: nothing that could do harm is kept in the repository.

Every payload does one harmless thing: it makes a file, the canary. A case says how its file is built and how the raw library is made to
fire the canary with the same file (the positive control), or to die. Ids are those of the list in docs/reference/security-cases.md.

`all_cases` collects from every module *_corpus.py beside this one: each offers `hostile_cases()`, and may offer `CONTROLS` of its own.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import importlib.util
import json
import lzma
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.core.artifact import SourceOptions

WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@dataclass(frozen=True)
class Case:
    """`build(folder, canary)` writes the file (or folder) and returns its path. `control` names the raw loader; "" where `why_not` says
    why there is none.

    `library` is what build or control import beyond the core; the case is left out where it is absent. The control of kind "canary" makes
    the canary, that of kind "crash" dies of a signal. `door` is "ingest" where only reading the file shows what is wrong with it, not
    inspecting it. `options` are what the user says beside the file.
    """

    id: str
    name: str
    build: Callable[[Path, Path], Path]
    control: str = ""
    why_not: str = ""
    library: str = ""
    options: SourceOptions | None = None
    control_kind: str = "canary"
    door: str = "inspect"

    @property
    def label(self) -> str:
        return f"{self.id}-{self.name}"

    @property
    def is_possible(self) -> bool:
        """Whether the library that the case needs is here."""
        return not self.library or importlib.util.find_spec(self.library) is not None


def all_cases() -> list[Case]:
    """Every case of this folder, whatever it needs."""
    return [*cases(), *(case for module in corpora() for case in module.hostile_cases())]


def corpora() -> list[Any]:
    """Every corpus beside this one."""
    modules = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("*_corpus.py"))]
    return [module for module in modules if hasattr(module, "hostile_cases")]


class Bomb:
    """Unpickles by making the canary."""

    def __init__(self, canary: Path, module: str = "") -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def call_pickle(module: str, name: str, argument: str) -> bytes:
    """A protocol 0 pickle that calls module.name(argument)."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def estimator(**parameters: Any) -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(40, 4))
    return LogisticRegression(**parameters).fit(rows, rows[:, 0] > 0)


# F: pickles


def pickled(protocol: int, wrapper: str) -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / ("model.pkl" if wrapper == "plain" else "model.joblib")
        path.write_bytes(WRAPPERS[wrapper](pickle.dumps({"model": Bomb(canary)}, protocol=protocol)))
        return path

    return build


def joblib_with_arrays(folder: Path, canary: Path) -> Path:
    """The payload comes after raw array bytes, where a plain walk over opcodes has lost its way."""
    import joblib
    import numpy as np

    path = folder / "model.joblib"
    joblib.dump({"weights": np.arange(1000.0), "names": np.array(["a", None], dtype=object), "model": Bomb(canary)}, path)
    return path


def joblib_in_object_array(folder: Path, canary: Path) -> Path:
    """The payload lies in the nested pickle of an object array."""
    import joblib
    import numpy as np

    path = folder / "model.joblib"
    joblib.dump({"names": np.array([Bomb(canary), None], dtype=object)}, path)
    return path


def raw_pickle(make: Callable[[Path], bytes], name: str = "model.pkl") -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / name
        path.write_bytes(make(canary))
        return path

    return build


def _live(canary: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(Bomb(canary), protocol=protocol)


def _broken_after(canary: Path) -> bytes:
    return _live(canary)[:-1] + b"\xff\xff broken"


def _two_streams(canary: Path) -> bytes:
    return pickle.dumps([1]) + _live(canary)


def _garbage_tail(canary: Path) -> bytes:
    return _live(canary) + b"tail" * 100


def _changes_class(canary: Path) -> bytes:
    """Sets a method of an allowed class to an allowed function: BUILD with a slot state on a class."""
    return b"csklearn.linear_model._logistic\nLogisticRegression\n(N(dVpredict\ncbuiltins\nlist\nstb."


def _extension(canary: Path) -> bytes:
    return b"\x80\x02\x82\x01."


def _persistent(canary: Path) -> bytes:
    return b"Pevil\n."


def _dotted(canary: Path) -> bytes:
    """Protocol 4 resolves dots in the name: sklearn.base:os.system style paths through an allowed module."""
    module, name, argument = b"sklearn.utils._bunch", b"Bunch.__init__.__globals__", str(canary).encode()
    return (
        b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name))
        + b"\x93\x8c"
        + bytes([len(argument)])
        + argument
        + b"\x85R."
    )


def torch_zip(member: str) -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / "model.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
            archive.writestr("archive/version", "3\n")
            archive.writestr(member, _live(canary))
        return path

    return build


def torch_legacy(folder: Path, canary: Path) -> Path:
    path = folder / "model.pt"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2) + _live(canary))
    return path


def renamed(build: Callable[[Path, Path], Path], name: str) -> Callable[[Path, Path], Path]:
    def rename(folder: Path, canary: Path) -> Path:
        return Path(shutil.move(build(folder, canary), folder / name))

    return rename


def seven_zip(folder: Path, canary: Path) -> Path:
    path = folder / "model.pt"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c\x00\x04" + _live(canary))
    return path


def hub_folder(folder: Path, canary: Path) -> Path:
    path = folder / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Evil"}}))
    (path / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    return path


# F05 to F07: skops


def skops_file(schema: Callable[[Path], dict[str, Any]], members: dict[str, bytes] | None = None) -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / "model.skops"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", json.dumps({**schema(canary), "protocol": 2, "_skops_version": "0.16.0"}))
            for name, data in (members or {}).items():
                archive.writestr(name, data)
        return path

    return build


def node(module: str, name: str, loader: str, **rest: Any) -> dict[str, Any]:
    return {"__module__": module, "__class__": name, "__loader__": loader, **rest}


def text_node(text: str) -> dict[str, Any]:
    return {"__module__": "builtins", "__class__": "str", "__loader__": "JsonNode", "content": json.dumps(text), "is_json": True}


def tuple_node(*content: Any) -> dict[str, Any]:
    return {"__module__": "builtins", "__class__": "tuple", "__loader__": "TupleNode", "content": list(content)}


def _constructor(canary: Path) -> dict[str, Any]:
    return node("os", "system", "ConstructorFromReduceNode", content=tuple_node(text_node(f"touch {canary}")))


def _operator(canary: Path) -> dict[str, Any]:
    attributes = tuple_node(node("os", "system", "FunctionNode"), text_node(f"touch {canary}"))
    return node("operator", "call", "OperatorFuncNode", attrs=attributes)


def _loss(canary: Path) -> dict[str, Any]:
    reduce = {"args": tuple_node(text_node(f"touch {canary}"))}
    state = {"__module__": "builtins", "__class__": "dict", "__loader__": "DictNode", "key_types": _keys(), "content": {}}
    return node("os", "system", "LossNode", __reduce__=reduce, content=state)


def _keys() -> dict[str, Any]:
    return {"__module__": "builtins", "__class__": "list", "__loader__": "ListNode", "content": []}


def _method(canary: Path) -> dict[str, Any]:
    inner = node("sklearn.linear_model._logistic", "LogisticRegression", "ObjectNode")
    return node("builtins", "str", "MethodNode", content={"func": "fit", "obj": inner})


def _partial(canary: Path) -> dict[str, Any]:
    empty = {"__module__": "builtins", "__class__": "dict", "__loader__": "DictNode", "key_types": _keys(), "content": {}}
    content = {"func": node("os", "system", "FunctionNode"), "args": tuple_node(text_node("id")), "kwds": empty, "namespace": empty}
    return node("functools", "partial", "PartialNode", content=content)


def _hidden_deep(canary: Path) -> dict[str, Any]:
    """An honest list around a node that names a class that is not one."""
    return {**_keys(), "content": [text_node("fine"), tuple_node(_constructor(canary))]}


def _plain_text(_: Path) -> dict[str, Any]:
    return text_node("fine")


def cases() -> Iterator[Case]:
    """Yield the F cases that are single files."""
    for protocol in range(6):
        for wrapper in WRAPPERS:
            yield Case("F01", f"protocol{protocol}-{wrapper}", pickled(protocol, wrapper), "joblib")
    yield Case("F01", "joblib-after-arrays", joblib_with_arrays, "joblib")
    yield Case("F01", "joblib-object-array", joblib_in_object_array, "joblib")
    yield Case("F02", "torch-zip", torch_zip("archive/payload.pkl"), "members")
    yield Case("F02", "torch-legacy", torch_legacy, "", "three pickles in a row: only torch.load reads them")
    for place in ("archive/version2", "archive/.config", "archive/noextension"):
        yield Case("F08", place.partition("/")[2], torch_zip(place), "members")
    for name in ("model.h5", "model.keras", "model.skops", "model.onnx"):
        yield Case("F05", f"pickle-as-{name[6:]}", renamed(pickled(4, "plain"), name), "joblib")
        yield Case("F05", f"torch-as-{name[6:]}", renamed(torch_zip("archive/payload.pkl"), name), "members")
    yield Case("F10", "pickle-as-bin", renamed(pickled(2, "plain"), "model.bin"), "joblib")
    yield Case("F10", "pickle-as-pt", renamed(pickled(2, "plain"), "model.pt"), "joblib")
    yield Case("F10", "zip-as-pkl", renamed(torch_zip("archive/payload.pkl"), "model.pkl"), "members")
    yield Case("F06", "constructor-of-another-type", skops_file(_constructor), "skops")
    yield Case("F06", "constructor-deep-inside", skops_file(_hidden_deep), "skops")
    yield Case("F06", "operator", skops_file(_operator), "skops")
    yield Case("F06", "method-of-another-class", skops_file(_method), "", "skops 0.12 and later refuse the disagreement themselves")
    yield Case("F06", "partial", skops_file(_partial), "", "it is called when used, not when loaded")
    yield Case("F06", "member-of-nothing", skops_file(_plain_text, {"payload.pkl": b"."}), "", "no loader opens it")
    yield Case("F07", "loss-of-another-module", skops_file(_loss), "skops")
    yield Case("F11", "dotted-name", raw_pickle(_dotted), "", "reaches globals without calling them")
    yield Case("F13", "broken-after-payload", raw_pickle(_broken_after), "pickle")
    yield Case("F13", "garbage-after-stop", raw_pickle(_garbage_tail), "pickle")
    yield Case("F13", "second-stream", raw_pickle(_two_streams), "", "a loader that reads on (torch's legacy format) runs the second")
    yield Case("F13", "7z", seven_zip, "", "no loader here opens 7z")
    yield Case(
        "F15", "unhooks-scanner", raw_pickle(lambda canary: call_pickle("fickling.hook", "deactivate", "")), "", "no scanner is installed"
    )
    yield Case(
        "F15", "replaces-unpickler", raw_pickle(lambda canary: call_pickle("builtins", "setattr", "")), "", "needs a victim to change"
    )
    yield Case("F15", "changes-class", raw_pickle(_changes_class), "", "changes a class of the loading process only")
    yield Case("F15", "extension-code", raw_pickle(_extension), "", "needs a registered extension")
    yield Case("F15", "persistent-id", raw_pickle(_persistent), "", "needs a loader with persistent ids")
    yield Case("F18", "hub-folder", hub_folder, "", "needs a loader that trusts the folder")
