"""PyTorch archives, checked before torch sees them: .pt2 and TorchScript. What torch opens afterwards is an archive that is written here.

Takes the path of a foreign archive and that of a new file; writes only members that were examined, and gives what was found. Raises
UnsafeContentError for whatever could run code or reach outside, UnsupportedError for what Fairlead leaves out, SourceError for damage.
Never imports torch. Meant for the sandboxed worker.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.security.archive import ZipMembers, open_zip
from fairlead.security.torch_code import check_code
from fairlead.security.torch_pickle import PROGRAM_GLOBALS, SCRIPT_GLOBALS, Storage, check_view, element_count, parse
from fairlead.security.torch_program import ProgramCleaner

# torch._export.serde.schema.ScalarType -> bytes of one element
_ELEMENT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
_TEXT_LIMIT, _WEIGHT_LIMIT = 64 * 2**20, 4 * 2**30
_CODE = re.compile(r"code/__torch__(/[A-Za-z0-9_]{1,200})*\.py")
_HARM = "No program that saves models writes this; do not use the file."
_DAMAGED = "The file is damaged. Copy it again, or save the model again."
_SMALL = frozenset((
    ".data/serialization_id", ".data/version", ".format_version", ".storage_alignment", "byteorder", "version", "archive_version",
    "archive_format",
))  # fmt: skip


@dataclass
class Checked:
    """What was found in an archive: devices other than the CPU, calls by operator, numbers in weights, sentences for the user."""

    devices: set[str] = field(default_factory=set)
    operators: Counter[str] = field(default_factory=Counter)
    parameter_count: int = 0
    notes: list[str] = field(default_factory=list)


class Members:
    """The members of a PyTorch archive by their name below its one folder."""

    def __init__(self, members: ZipMembers) -> None:
        self._members = members
        folders = {name.partition("/")[0] for name in members.names}
        if len(folders) != 1 or not all("/" in name for name in members.names):
            raise UnsafeContentError("The archive's members do not lie in one folder.", hint=_HARM)
        self.folder = folders.pop()
        self.names = tuple(name.partition("/")[2] for name in members.names)

    def read(self, name: str, *, limit_bytes: int = _TEXT_LIMIT) -> bytes:
        """Return the bytes of one member."""
        return self._members.read(f"{self.folder}/{name}", limit_bytes=limit_bytes)

    def weights(self, name: str) -> bytes:
        """Return the bytes of a member that holds numbers."""
        return self.read(name, limit_bytes=_WEIGHT_LIMIT)

    def check_small(self) -> None:
        """Raise where one of the small members that every archive has holds more than a short text."""
        for name in _SMALL & set(self.names):
            text = self.read(name, limit_bytes=256)
            if not re.fullmatch(rb"[A-Za-z0-9_.-]*\n?", text):
                raise UnsafeContentError(f"Member '{name}' holds something other than a short text.", hint=_HARM)
        if "byteorder" in self.names and self.read("byteorder") != b"little":
            raise UnsupportedError("The weights are big-endian.", hint="Save the model again on the machine that it is deployed on.")

    def refuse_rest(self, known: Iterable[str]) -> None:
        """Raise for a member that nothing here knows (F08)."""
        unknown = sorted(set(self.names) - set(known) - _SMALL)
        if unknown:
            raise UnsafeContentError(
                f"The archive has a member '{shorten(unknown[0])}' that PyTorch does not write there.",
                hint="Save the model again; compiled libraries and further files are not taken.",
            )

    def check_extra(self) -> tuple[str, ...]:
        """Return the names of the user's own files in the archive, which are texts and are dropped."""
        extra = tuple(name for name in self.names if name.startswith("extra/"))
        for name in extra:
            try:
                is_text = all(char.isprintable() or char.isspace() for char in self.read(name, limit_bytes=2**20).decode("utf-8"))
            except UnicodeDecodeError:
                is_text = False
            if not is_text:
                raise UnsafeContentError(f"Member '{shorten(name)}' is no text.", hint="Save the model without extra files.")
        return extra


def load_json(data: bytes, what: str) -> Any:
    """Return parsed JSON in which no object has a key twice; raises SourceError."""
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{what} is no sound JSON: {shorten(str(error), 100)}.", hint=_DAMAGED) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def check_storages(members: Members, storages: Iterable[Storage], folder: str, checked: Checked) -> list[str]:
    """Return the members that hold `storages`; raises where one has another size than the pickle says (F03)."""
    found: dict[str, int] = {}
    for storage in storages:
        name = f"{folder}/{storage.key}"
        if name not in members.names:
            raise SourceError(f"The archive lacks the weights '{shorten(storage.key)}'.", hint=_DAMAGED)
        size = found.get(name)
        if size is None:
            size = found[name] = len(members.weights(name))
            checked.parameter_count += storage.count
        if size != storage.count * storage.item_bytes:
            raise UnsafeContentError(f"The weights '{shorten(storage.key)}' have another size than the file says.", hint=_DAMAGED)
        if storage.location != "cpu":
            checked.devices.add(shorten(storage.location, 20))
    return list(found)


def check_program(path: Path, target: Path) -> Checked:
    """Write the exported program at `path` (.pt2) to `target`, rebuilt: no guards, no sample inputs, no texts, everything on the CPU."""
    with open_zip(path) as archive:
        members = Members(archive)
        try:
            checked, written = _rebuilt_program(members)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            raise SourceError(f"The program's JSON is damaged ({type(error).__name__}).", hint=_DAMAGED) from None
        _write(target, written, members)
    return checked


def _rebuilt_program(members: Members) -> tuple[Checked, dict[str, bytes | None]]:
    """Return what was found, and the new members' bytes (None: the old ones)."""
    if any(name.startswith("data/aotinductor/") for name in members.names):
        raise UnsafeContentError("The archive holds compiled code.", hint="Save the program with torch.export.save, without AOTInductor.")
    hint = "Load it with torch.export.load where it was made, and save it with torch.export.save of torch 2.10 or later."
    if "data/weights/model.pt" in members.names or "data/constants/model.pt" in members.names:
        raise UnsafeContentError("The weights of the program are a pickle, which torch 2.10 and later no longer write.", hint=hint)
    if "models/model.json" not in members.names:
        raise UnsupportedError("The archive is not in the form that torch 2.10 and later write.", hint=hint)
    members.check_small()
    cleaner = ProgramCleaner()
    program = cleaner.program(load_json(members.read("models/model.json"), "The program"))
    written: dict[str, bytes | None] = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
        ".data/version": None if ".data/version" in members.names else b"6\n",
        "models/model.json": json.dumps(program).encode(),
        "data/sample_inputs/model.pt": b"",
    }
    for kind, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        written |= _payloads(members, kind, prefix, cleaner)
    samples = "data/sample_inputs/model.pt"
    if samples in members.names:
        _check_samples(members.read(samples, limit_bytes=_WEIGHT_LIMIT))
    extra = members.check_extra()
    members.refuse_rest([*written, samples, *extra])
    checked = Checked(cleaner.devices, cleaner.operators)
    checked.parameter_count = sum(len(members.weights(name)) for name in written if re.fullmatch(r"data/weights/weight_\d+", name)) // 4
    if extra:
        checked.notes.append(f"{len(extra)} files of your own in the archive are not part of the model: {shorten(', '.join(extra), 200)}")
    return checked, written


def _payloads(members: Members, kind: str, prefix: str, cleaner: ProgramCleaner) -> dict[str, bytes | None]:
    """Return the members of one folder of weights, each of the size that its config says."""
    config_name = f"data/{kind}/model_{kind}_config.json"
    config = load_json(members.read(config_name), f"The list of {kind}")["config"]
    clean: dict[str, Any] = {}
    found: dict[str, bytes | None] = {}
    for key, payload in config.items():
        if payload["use_pickle"] is not False:
            raise UnsafeContentError(f"The weight '{shorten(key)}' is a pickle.", hint="Save a module whose weights are plain tensors.")
        name = payload["path_name"]
        member = f"data/{kind}/{name}"
        if not re.fullmatch(rf"{prefix}\d{{1,9}}", name) or member not in members.names:
            raise UnsafeContentError(f"The weight '{shorten(key)}' lies in '{shorten(str(name))}'.", hint=_HARM)
        meta = cleaner.tensor_meta(payload["tensor_meta"])
        _check_payload(key, meta, len(members.weights(member)))
        clean[key] = {"path_name": name, "is_param": bool(payload["is_param"]), "use_pickle": False, "tensor_meta": meta}
        found[member] = None
    return {config_name: json.dumps({"config": clean}).encode(), **found}


def _check_payload(key: str, meta: Mapping[str, Any], size: int) -> None:
    item = _ELEMENT_BYTES.get(meta["dtype"])
    if item is None:
        raise UnsupportedError(f"The weight '{shorten(key)}' has an element type that Fairlead does not read.", hint="Use float32.")
    sizes, strides = (tuple(entry["as_int"] for entry in meta[what]) for what in ("sizes", "strides"))
    check_view(size // item, meta["storage_offset"]["as_int"], sizes, strides)
    if size % item or (size == 0 and element_count(sizes)):
        raise UnsafeContentError(f"The weight '{shorten(key)}' has another size than the file says.", hint=_DAMAGED)


def _check_samples(data: bytes) -> None:
    """The example inputs are an archive of their own; torch would unpickle it, whatever is in it. It is looked at, and then left out."""
    if not data:
        return
    if data[:4] != b"PK\x03\x04":
        raise UnsafeContentError("The sample inputs are a bare pickle.", hint=_HARM)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            pickles = [name for name in inner.namelist() if name.endswith("data.pkl")]
            if len(pickles) != 1 or inner.getinfo(pickles[0]).file_size > _TEXT_LIMIT:
                raise UnsafeContentError("The sample inputs hold more than one pickle.", hint=_HARM)
            found = inner.read(pickles[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"The sample inputs are damaged: {shorten(str(error), 100)}.", hint=_DAMAGED) from None
    parse(found, PROGRAM_GLOBALS)


def check_script(path: Path, target: Path) -> Checked:
    """Write the TorchScript archive at `path` to `target`: its code and weights only, no device named but the CPU."""
    with open_zip(path) as archive:
        members = Members(archive)
        members.check_small()
        checked = Checked()
        code = {name: check_code(members.read(name), name) for name in members.names if _CODE.fullmatch(name)}
        classes = {f"{_module(name)}.{kind}" for name, item in code.items() for kind in item.classes}
        written: dict[str, bytes | None] = {name: item.text.encode() for name, item in code.items()}
        checked.devices |= {device for item in code.values() for device in item.devices}
        for pickle_name, folder in (("data.pkl", "data"), ("constants.pkl", "constants")):
            parsed = parse(members.read(pickle_name), SCRIPT_GLOBALS, is_class=classes.__contains__)
            written[pickle_name] = None
            written |= dict.fromkeys(check_storages(members, parsed.storages, folder, checked))
        written |= {name: None for name in ("version", "byteorder", ".data/version") if name in members.names}
        dropped = _droppable(members)
        extra = members.check_extra()
        members.refuse_rest([*written, *dropped, *extra])
        _write(target, written, members)
    return checked


def _module(name: str) -> str:
    return name.removeprefix("code/").removesuffix(".py").replace("/", ".")


def _droppable(members: Members) -> list[str]:
    """Return members that only people read; each pickle of them is looked at all the same."""
    debug = [name for name in members.names if name.startswith("code/") and name.endswith(".debug_pkl")]
    traced = [name for name in members.names if name == "traced_inputs.pkl" or re.fullmatch(r"traced_inputs/\d+", name)]
    for name in (*debug, *(name for name in traced if name.endswith(".pkl"))):
        parse(members.read(name), SCRIPT_GLOBALS)
    return debug + traced


def _write(target: Path, written: Mapping[str, bytes | None], members: Members) -> None:
    """Write a plain archive: every member stored as it is, one folder, nothing between."""
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as file:
        for name, data in written.items():
            file.writestr(f"model/{name}", members.weights(name) if data is None else data)
