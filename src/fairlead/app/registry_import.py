"""A version out of one file: checked whole before anything reaches the registry.

`import_file` takes a path, gives Imported. What is checked: the archive's structure, that it holds exactly what its index lists, every
digest, that the documents are what they claim to be and plain text, that the verdict is green and about the very model in the file, and
that the model still answers its golden requests as it did (a foreign graph is opened in the sandbox). What is believed: the measurements in
the verdict, which were taken elsewhere. Whoever imports is the publisher here. Raises UnsafeContentError, SourceError, UnsupportedError,
RejectedError, SandboxError; nothing is registered then.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fairlead.app.import_trial import try_out
from fairlead.app.registry_tags import NOTE_LIMIT, put_tag, read_note, tags_of, write_note
from fairlead.app.registry_traits import traits_of
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.bundle import BLOBS, FORMAT, INDEX, Bundle
from fairlead.core.conversion import MAIN_FILE, RuntimeForm
from fairlead.core.fact import check_trait_value, check_traits, parse_tag_key
from fairlead.core.interface import Interface, shorten
from fairlead.core.lineage import Lineage
from fairlead.core.manifest import Manifest
from fairlead.core.plan import Candidate, Plan
from fairlead.core.traits import PUBLISHER
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, check_name
from fairlead.errors import CorruptError, InputError, RejectedError, SourceError, SpecError, UnsafeContentError, UnsupportedError
from fairlead.register.stage import Registration, register
from fairlead.security.archive import Budget, ZipMembers, open_zip
from fairlead.security.digests import digest_file
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_golden

_INDEX_LIMIT_BYTES = 8 * 2**20
_DOCUMENT_LIMIT_BYTES = 64 * 2**20
_FILE_LIMIT = 4096
_DOCUMENTS: Mapping[str, type] = {
    "verdict.json": Verdict,
    "engine.json": Candidate,
    "lineage.json": Lineage,
    "plan.json": Plan,
    "interface.json": Interface,
}
_GOLDEN = "golden.npz"
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # what moves a cursor, or turns text around
_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x05\x06"
_END = struct.Struct("<4s4H2LH")  # the last record of a zip archive without a comment
_LARGE = 0xFFFFFFFF
_DAMAGED = "Copy it again, or export the version again."
_FORGED = "Fairlead does not write this; do not use the file."


@dataclass(frozen=True)
class Imported:
    """The version here. `is_new` is False where its content was registered already; `origin` is what it was called elsewhere, `aliases`
    what pointed at it there (nothing does here); `trial` says what was tried with it on this machine.
    """

    version: str
    digest: str
    origin: str
    is_new: bool
    trial: str
    tags: Mapping[str, str | float]
    aliases: tuple[str, ...] = ()
    stage: str = ""


def import_file(path: Path, house: House, *, name: str = "") -> Imported:
    """Register the version in `path`, as the next one of `name` (of the name that it had, where none is given)."""
    if name:
        check_name(name)
    with workspace(house) as folder:
        # 1. The archive: copied out member by member, each checked.
        bundle, blobs = _unpack(path, folder)
        wanted = check_name(name or bundle.name)
        files = _laid_out(bundle.manifest, blobs, folder / "version")
        # 2. The evidence, and the model by it.
        verdict = _check_documents(files)
        trial = try_out(files, house)
        # 3. The registry.
        before = next((one for one in house.records.versions(wanted) if one.digest == bundle.digest), None)
        version = before or _register(wanted, files, verdict, bundle, house)
    _write_down(version, bundle, house)
    return Imported(
        version.label,
        version.digest,
        bundle.label,
        before is None,
        trial,
        tags_of(version, house),
        bundle.aliases,
        bundle.stage,
    )


def _unpack(path: Path, folder: Path) -> tuple[Bundle, dict[str, Path]]:
    """Return the index and, by digest, where each blob lies in `folder`."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise SourceError(
                    f"'{path.name}' is no exported version.", hint="Make one: fairlead export digits:3 --out digits-3.fairlead"
                )
            if not _is_whole(file, size_bytes):
                raise SourceError(f"'{path.name}' is cut short, or something follows its end.", hint=_DAMAGED)
        # Members are stored as they are: together they cannot be larger than the file.
        budget = Budget(member_count=_FILE_LIMIT + 1, unpacked_bytes=size_bytes, ratio=1, ratio_floor_bytes=0)
        with open_zip(path, budget) as members:
            bundle = _index(members)
            listed = {entry.digest: entry.size_bytes for entry in bundle.manifest.files}
            blobs = {digest: _blob(members, digest, listed[digest], folder) for digest in sorted(listed)}
    except OSError as error:
        raise SourceError(f"'{path.name}' cannot be read: {error.strerror or type(error).__name__}.", hint="Check the path.") from None
    return bundle, blobs


def _is_whole(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the file ends with the end of the archive that it begins with: cut short, it may end with that of an archive inside it."""
    file.seek(max(size_bytes - _END.size, 0))
    end = file.read(_END.size)
    if len(end) < _END.size:
        return False
    signature, *_, list_bytes, list_at, comment_bytes = _END.unpack(end)
    is_large = _LARGE in (list_bytes, list_at)  # where it begins then stands elsewhere, and is checked with the members
    return signature == _END_MAGIC and not comment_bytes and (is_large or list_at + list_bytes == size_bytes - _END.size)


def _index(members: ZipMembers) -> Bundle:
    """Return the checked index: it agrees with itself and with what the archive holds."""
    if INDEX not in members.names:
        raise SourceError("The file is no exported version: it has no fairlead.json.", hint="Make one: fairlead export digits:3 --out FILE")
    text = members.read(INDEX, limit_bytes=_INDEX_LIMIT_BYTES)
    stated = _plain_json(text, INDEX)
    if not isinstance(stated, dict) or not isinstance(stated.get("format"), int):
        raise SourceError("The file's index says no format.", hint=_DAMAGED)
    if stated["format"] > FORMAT:
        raise UnsupportedError(
            f"The file has format {stated['format']}; this Fairlead knows {FORMAT}.", hint="Upgrade: pip install -U fairlead."
        )
    try:
        bundle = load(text, Bundle)
        check_name(bundle.name)
        check_traits(bundle.traits)
        for key, value in bundle.tags.items():
            parse_tag_key(f"{bundle.label}/{key}")
            check_trait_value(key, value)
    except (CorruptError, SpecError, InputError) as error:
        raise SourceError(f"The file's index is not what Fairlead writes: {shorten(error.message, 200)}", hint=_DAMAGED) from None
    if not bundle.manifest.is_bare or bundle.manifest.digest != bundle.digest or len(bundle.note) > NOTE_LIMIT:
        raise UnsafeContentError("The file's index does not agree with itself.", hint=_FORGED)
    sizes = {entry.digest: entry.size_bytes for entry in bundle.manifest.files}
    if any(sizes[entry.digest] != entry.size_bytes for entry in bundle.manifest.files):
        raise UnsafeContentError("The file's index gives one blob two sizes.", hint=_FORGED)
    extra = sorted(set(members.names) - set(bundle.members))
    if extra:
        raise UnsafeContentError(f"The file holds '{shorten(extra[0])}', which its index does not list.", hint=_FORGED)
    missing = sorted(set(bundle.members) - set(members.names))
    if missing:
        raise SourceError(f"The file lacks '{missing[0][: len(BLOBS) + 12]}', which its index lists.", hint=_DAMAGED)
    return bundle


def _blob(members: ZipMembers, digest: str, size_bytes: int, folder: Path) -> Path:
    target = folder / digest
    members.copy(BLOBS + digest, target, limit_bytes=size_bytes)
    if target.stat().st_size != size_bytes or digest_file(target) != digest:
        raise SourceError(f"Blob {digest[:12]} of the file is not what its name says.", hint=_DAMAGED)
    return target


def _check_documents(files: Mapping[str, Path]) -> Verdict:
    """Return the verdict, once every document is what it claims to be and the verdict is about the model that would run."""
    missing = [name for name in (*_DOCUMENTS, _GOLDEN) if name not in files]
    if missing:
        raise SourceError(f"The version in the file has no {missing[0]}.", hint=_DAMAGED)
    documents: dict[str, Any] = {}
    for name, path in files.items():
        if not name.endswith(".json"):
            continue
        if path.stat().st_size > _DOCUMENT_LIMIT_BYTES:
            raise UnsafeContentError(f"{name} has {path.stat().st_size:,} bytes; the limit is {_DOCUMENT_LIMIT_BYTES:,}.", hint=_FORGED)
        text = path.read_bytes()
        _plain_json(text, name)
        if name in _DOCUMENTS:
            documents[name] = _loaded(text, name)
    chosen: Candidate = documents["engine.json"]
    forms = {form.value: MAIN_FILE[form] for form in RuntimeForm}
    main = files.get(forms.get(chosen.form, ""))
    if main is None:
        raise UnsupportedError(f"The version in the file runs as '{shorten(chosen.form)}', which is not there.", hint=_DAMAGED)
    verdict: Verdict = documents["verdict.json"]
    if verdict.model_digest != digest_file(main):
        raise RejectedError("The verdict in the file is about another model than the one that would run.", hint=_FORGED)
    try:
        read_golden(files[_GOLDEN])
    except CorruptError as error:
        raise SourceError(f"The golden requests in the file cannot be read: {shorten(error.message, 200)}", hint=_DAMAGED) from None
    return verdict


def _loaded(text: bytes, name: str) -> Any:
    try:
        return load(text, _DOCUMENTS[name])
    except (CorruptError, InputError) as error:
        raise SourceError(f"{name} in the file is not what Fairlead writes: {shorten(error.message, 200)}", hint=_DAMAGED) from None


def _plain_json(text: bytes, name: str) -> Any:
    """Return JSON whose texts hold nothing that could steer a terminal."""
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise SourceError(f"{name} in the file is not JSON.", hint=_DAMAGED) from None
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, str) and _STEERING.search(item):
            raise UnsafeContentError(f"{name} in the file holds control characters.", hint=_FORGED)
    return content


def _laid_out(manifest: Manifest, blobs: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Give the blobs the names that they have in the version, as engines look for files beside the main one."""
    folder.mkdir(mode=0o700)
    for entry in manifest.files:
        if blobs[entry.digest].parent == folder:  # one blob, two names
            shutil.copyfile(blobs[entry.digest], folder / entry.name)
        else:
            blobs[entry.digest] = blobs[entry.digest].rename(folder / entry.name)
    return {entry.name: folder / entry.name for entry in manifest.files}


def _register(name: str, files: Mapping[str, Path], verdict: Verdict, bundle: Bundle, house: House) -> Version:
    """Register through the one door; what it recorded has to be what the file said."""
    computed = traits_of(lambda file: files[file].read_bytes(), publisher=house.settings.user)
    told = {key: value for key, value in bundle.traits.items() if key != PUBLISHER}
    registration = Registration(name, files, verdict, told | computed | {"origin": bundle.label})
    version = register(registration, records=house.records, blobs=house.blobs, clock=house.clock)
    if version.digest != bundle.digest:
        raise CorruptError(f"{version.label} is not what the file said.", hint="Somebody changed the files of this import meanwhile.")
    return version


def _write_down(version: Version, bundle: Bundle, house: House) -> None:
    """Write what people wrote elsewhere, where nothing is written here."""
    known = tags_of(version, house)
    for key, value in bundle.tags.items():
        if key not in known:
            put_tag(version, key, value, house)
    if bundle.note and not read_note(version.label, house).text:
        write_note(version.label, bundle.note, house)
