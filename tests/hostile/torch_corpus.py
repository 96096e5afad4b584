"""Bad PyTorch and safetensors files: what runs code while torch loads them or is asked, and what lies about sizes (see corpus.py)."""

from __future__ import annotations

import functools
import io
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus import Bomb, Case

from fairlead.core.artifact import SourceOptions
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec

CONTROLS = {
    "torch-export": (
        "import torch, warnings; warnings.simplefilter('ignore')\nprogram = torch.export.load(path)\nprogram.module()(torch.zeros(3, 2))"
    ),
    "torch-script": "import torch; torch.jit.load(path)(torch.zeros(3, 2))",
    "torch-load": "import torch; torch.load(path, weights_only=False)",
}
OPTIONS = SourceOptions(inputs=(TensorSpec("x", DType.FP32, (None, 2)),))
WEIGHTS = SourceOptions(model_class="collections:OrderedDict", inputs=OPTIONS.inputs)
SAMPLES = "data/sample_inputs/model.pt"
Members = dict[str, bytes]
Build = Callable[[Path, Path], Path]


@functools.cache
def program() -> Members:
    """The members of a small, honest .pt2 file."""
    import torch

    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        torch.export.save(torch.export.export(model, (torch.zeros(3, 2),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), target)
    return unpack(target.getvalue())


@functools.cache
def script() -> Members:
    """The members of a small, honest TorchScript file."""
    import torch

    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), torch.zeros(3, 2)), target)
    return unpack(target.getvalue())


def state() -> Members:
    """The members of a small, honest file of weights."""
    import torch

    target = io.BytesIO()
    torch.save({"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, target)
    return unpack(target.getvalue())


def unpack(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def pack(members: Members, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(f"model/{name}", data)
    return path


def bomb(canary: Path) -> bytes:
    return pickle.dumps(Bomb(canary), protocol=2)


def bomb_archive(canary: Path) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("archive/data.pkl", bomb(canary))
        file.writestr("archive/version", "3\n")
    return target.getvalue()


def edited(base: Callable[[], Members], name: str, change: Callable[[Members, Path], Members]) -> Build:
    """Return what builds a file whose members are those of `base` with changes."""

    def build(folder: Path, canary: Path) -> Path:
        return pack({**base(), **change(base(), canary)}, folder / name)

    return build


def model_json(change: Callable[[Any, Path], None]) -> Callable[[Members, Path], Members]:
    """Change the program's JSON."""

    def edit(members: Members, canary: Path) -> Members:
        found = json.loads(members["models/model.json"])
        change(found, canary)
        return {"models/model.json": json.dumps(found).encode()}

    return edit


def payload_json(change: Callable[[dict[str, Any]], None], **more: Callable[[Path], bytes]) -> Callable[[Members, Path], Members]:
    """Change what the list of weights says about the first one; add members by name."""

    def edit(members: Members, canary: Path) -> Members:
        name = "data/weights/model_weights_config.json"
        found = json.loads(members[name])
        change(next(iter(found["config"].values())))
        return {name: json.dumps(found).encode(), **{key.replace("__", "/"): make(canary) for key, make in more.items()}}

    return edit


def _guards(found: Any, canary: Path) -> None:
    found["guards_code"] = [f"open({str(canary)!r}, 'w') is not None"]


def _expression(found: Any, canary: Path) -> None:
    values = found["graph_module"]["graph"]["tensor_values"]
    for meta in values.values():
        for size in meta["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = f"open({str(canary)!r}, 'w')"


def _default_factory(found: Any, _: Path) -> None:
    signature = found["graph_module"]["module_call_graph"][0]["signature"]
    tree = json.loads(signature["out_spec"])
    context = json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []})
    signature["out_spec"] = json.dumps([1, {"type": "collections.defaultdict", "context": context, "children_spec": [tree[1]]}])


def _operator(found: Any, _: Path) -> None:
    found["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.ops.aten.from_file.default"


def _dotted(found: Any, _: Path) -> None:
    found["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.serialization.os.system"


def _code_as_name(found: Any, canary: Path) -> None:
    wanted = json.dumps({"as_tensor": {"name": f"x=open({str(canary)!r}, 'w')"}})
    text = json.dumps(found).replace(json.dumps({"as_tensor": {"name": "input"}}), wanted)
    found.update(json.loads(text))


def _opaque(members: Members, canary: Path) -> Members:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"thing": entry}}).encode()
    return {"data/constants/model_constants_config.json": config, "data/constants/opaque_obj_0": bomb(canary)}


def _code_line(line: str) -> Callable[[Members, Path], Members]:
    """Put a line before the last `return` of the script's first forward."""

    def edit(members: Members, canary: Path) -> Members:
        (name,) = [key for key in members if key.startswith("code/") and key.endswith(".py") and b"Sequential" in members[key]]
        text = members[name].decode()
        before, _, after = text.rpartition("    return ")
        rest = "" if line.startswith("return") else f"    return {after}"
        return {name: f"{before}    {line.format(canary=canary)}\n{rest}".encode()}

    return edit


def _pickled_code(_: Members, canary: Path) -> Members:
    return {"data.pkl": bomb(canary)}


def _added(name: str) -> Callable[[Members, Path], Members]:
    return lambda _, canary: {name: bomb(canary)}


def torch_cases() -> Iterator[Case]:
    """Yield the cases that are PyTorch archives."""

    def pt2(name: str, change: Callable[[Members, Path], Members], control: str = "torch-export", why_not: str = "") -> Case:
        return Case("F02", f"pt2-{name}", edited(program, "model.pt2", change), "" if why_not else control, why_not, library="torch")

    def pt(name: str, change: Callable[[Members, Path], Members], control: str = "", why_not: str = "") -> Case:
        build = edited(script, "model.pt", change)
        return Case("F08", f"script-{name}", build, control, why_not, library="torch", options=OPTIONS)

    yield pt2("sample-inputs", lambda _, canary: {SAMPLES: bomb(canary)})
    yield pt2("sample-inputs-archive", lambda _, canary: {SAMPLES: bomb_archive(canary)})
    yield pt2("guards", model_json(_guards))
    yield pt2("size-expression", model_json(_expression))
    pickled = payload_json(lambda entry: entry.update(use_pickle=True, path_name="weight_9"), data__weights__weight_9=bomb_archive)
    yield pt2("weight-pickle", pickled)
    yield pt2("opaque-constant", _opaque)
    yield pt2("old-weights", lambda _, canary: {"data/weights/model.pt": bomb_archive(canary)})
    yield pt2("tree-type", model_json(_default_factory), why_not="imports a module of the file's choosing, which runs nothing by itself")
    yield pt2("operator-file", model_json(_operator), why_not="maps a file into a tensor when it is asked; it makes none")
    yield pt2("operator-dotted", model_json(_dotted), why_not="torch 2.13 finds the function and then has no way to call it")
    yield pt2("name", model_json(_code_as_name), why_not="torch 2.13 no longer finds an input of that name")
    yield pt2("library", _added("data/aotinductor/model/model.so"), why_not="needs a compiled library")
    yield pt2("unknown-member", _added("data/other"), "members")
    yield pt2("extra-pickle", _added("extra/notes"), "members")
    yield pt("save", _code_line('_99 = torch.save(1, "{canary}")'), "torch-script")
    yield pt("save-by-space", _code_line('_99 = ops.aten.save(1, "{canary}")'), "torch-script")
    yield pt("from-file", _code_line('return torch.from_file("{canary}", True, 4)'), "torch-script")
    yield pt("debug-pickle", _added("code/__torch__.py.debug_pkl"), "members")
    yield pt("traced-inputs", _added("traced_inputs.pkl"), "members")
    yield pt("data-pickle", _pickled_code, "members")
    yield pt("constants-pickle", _added("constants.pkl"), "members")
    yield pt("unknown-member", _added("bytecode.pkl"), "members")
    weights = edited(state, "model.pth", _pickled_code)
    yield Case("F04", "state-of-unknown-global", weights, "torch-load", library="torch", options=WEIGHTS)


def _safetensors(header: Any, body: bytes, *, length: int | None = None) -> Build:
    def build(folder: Path, _: Path) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
        return path

    return build


def _tensor(begin: int, end: int, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


def safetensors_cases() -> Iterator[Case]:
    """Yield the cases that are safetensors files."""
    files = {
        "overlap": _safetensors({"a": _tensor(0, 8), "b": _tensor(4, 12)}, bytes(12)),
        "gap": _safetensors({"a": _tensor(0, 8), "b": _tensor(16, 24)}, bytes(24)),
        "beyond-the-end": _safetensors({"a": _tensor(0, 8)}, bytes(4)),
        "bytes-left-over": _safetensors({"a": _tensor(0, 8)}, bytes(64)),
        "shape-and-size-differ": _safetensors({"a": _tensor(0, 8, (3,))}, bytes(8)),
        "size-overflow": _safetensors({"a": _tensor(0, 8, (2**40, 2**40))}, bytes(8)),
        "negative-size": _safetensors({"a": _tensor(0, 8, (-2,))}, bytes(8)),
        "key-twice": _safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(_tensor(0, 8)).encode(),) * 2), bytes(8)),
        "deep-json": _safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b""),
        "header-length": _safetensors({"a": _tensor(0, 8)}, bytes(8), length=2**26),
    }  # fmt: skip
    for name, build in files.items():
        yield Case("F03", f"safetensors-{name}", build, why_not="no code: numbers that lie; the library refuses them, too", options=WEIGHTS)


def hostile_cases() -> Iterator[Case]:
    yield from torch_cases()
    yield from safetensors_cases()
