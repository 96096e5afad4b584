"""Builders of bad archives, made at test time. See corpus.py."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus import Case, text_node


def zipped(fill: Callable[[zipfile.ZipFile, Path], None], name: str = "model.skops") -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("schema.json", json.dumps(text_node("fine")))
            fill(archive, canary)
        return path

    return build


def member(name: str, data: bytes = b"data") -> Callable[[zipfile.ZipFile, Path], None]:
    def fill(archive: zipfile.ZipFile, _: Path) -> None:
        archive.writestr(zipfile.ZipInfo(name), data)

    return fill


def link_member(archive: zipfile.ZipFile, _: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def twice(archive: zipfile.ZipFile, _: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("schema.json", "{}")


def many(archive: zipfile.ZipFile, _: Path) -> None:
    for number in range(100_001):
        archive.writestr(zipfile.ZipInfo(f"m{number}"), b"")


def swollen(archive: zipfile.ZipFile, _: Path) -> None:
    with archive.open("zeros.npy", "w", force_zip64=True) as stream:
        for _number in range(200):
            stream.write(bytes(2**20))


def patched(build: Callable[[Path, Path], Path], change: Callable[[bytearray], bytes | bytearray]) -> Callable[[Path, Path], Path]:
    def rebuild(folder: Path, canary: Path) -> Path:
        path = build(folder, canary)
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    return rebuild


def _encrypt(data: bytearray) -> bytearray:
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature)
        data[place + offset] |= 1
    return data


def _overlap(data: bytearray) -> bytearray:
    """Let the second entry of the index point to the first member (as in a flat bomb)."""
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return data


def _lie_about_size(data: bytearray) -> bytearray:
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    return data


def joblib_bomb(folder: Path, canary: Path) -> Path:
    path = folder / "model.joblib"
    with gzip.open(path, "wb") as stream:
        stream.write(b"\x80\x04B" + struct.pack("<I", 80 * 2**20))
        for _ in range(80):
            stream.write(bytes(2**20))
        stream.write(b".")
    return path


def tar_file(kind: int, mode: str, fill: Callable[[tarfile.TarFile, Path], None], name: str) -> Callable[[Path, Path], Path]:
    def build(folder: Path, canary: Path) -> Path:
        path = folder / name
        with tarfile.open(path, mode, format=kind) as archive:  # type: ignore[call-overload]
            fill(archive, canary)
        return path

    return build


def tar_traversal(archive: tarfile.TarFile, _: Path) -> None:
    archive.addfile(tarfile.TarInfo("../canary"), io.BytesIO(b""))


def tar_through_link(archive: tarfile.TarFile, canary: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    archive.addfile(link)
    archive.addfile(tarfile.TarInfo("link/canary"), io.BytesIO(b""))


def tar_hard_link(archive: tarfile.TarFile, _: Path) -> None:
    link = tarfile.TarInfo("../canary")
    link.type, link.linkname = tarfile.LNKTYPE, "inside"
    archive.addfile(tarfile.TarInfo("inside"), io.BytesIO(b""))
    archive.addfile(link)


def tar_deep_links(archive: tarfile.TarFile, _: Path) -> None:
    """Folders and links so deep that a resolved path is longer than the system takes, and then one step up from there."""
    place, steps = "", "abcdefghijklmnop"
    for step in steps:
        folder = tarfile.TarInfo(f"{place}{'d' * 247}")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo(f"{place}{step}")
        link.type, link.linkname = tarfile.SYMTYPE, "d" * 247
        archive.addfile(link)
        place += f"{'d' * 247}/"
    long = tarfile.TarInfo("/".join(steps) + "/" + "l" * 254)
    long.type, long.linkname = tarfile.SYMTYPE, "../" * len(steps)
    archive.addfile(long)
    out = tarfile.TarInfo("escape")
    out.type, out.linkname = tarfile.SYMTYPE, f"{long.name}/.."
    archive.addfile(out)
    archive.addfile(tarfile.TarInfo("escape/canary"), io.BytesIO(b""))


def tar_device(archive: tarfile.TarFile, _: Path) -> None:
    device = tarfile.TarInfo("device")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 5
    archive.addfile(device)


def tar_absolute(archive: tarfile.TarFile, canary: Path) -> None:
    archive.addfile(tarfile.TarInfo(str(canary)), io.BytesIO(b""))


def hostile_cases() -> Iterator[Case]:
    """Yield the A cases, as far as they concern what is opened: zip; tar and 7z are refused as such."""
    inside = "Python's own zipfile cuts such names before it writes"
    for suffix in ("skops", "keras", "pt2"):
        for name in ("../x", "/x", "a/../../x", "C:/x", "a\\..\\x", "a//x", "./x", "a\nb", "e\u0301"):
            shown = name.encode("unicode_escape").decode()
            yield Case("A03", f"{_kind(suffix)}-{shown}", zipped(member(name), f"model.{suffix}"), "", inside)
    for suffix in ("keras", "pt2"):
        named = f"model.{suffix}"
        yield Case("A02", f"{suffix}-symlink", zipped(link_member, named), "", "zipfile writes a link as a plain file")
        yield Case("A07", f"{suffix}-swollen", zipped(swollen, named), "", "would fill the memory: 200 MiB from 200 KiB")
        yield Case("A07", f"{suffix}-overlap", patched(zipped(member("x"), named), _overlap), "", "zipfile before 3.11.8 does not check")
        yield Case("A07", f"{suffix}-encrypted", patched(zipped(member("x"), named), _encrypt), "", "cannot be read without the password")
    yield Case("A02", "zip-symlink", zipped(link_member), "", "zipfile writes a link as a plain file")
    yield Case("A03", "zip-two-of-one-name", zipped(twice), "", "harms only a checker that reads the other one")
    yield Case("A03", "zip-names-differ-in-case", zipped(member("SCHEMA.JSON")), "", "harms on other file systems")
    yield Case("A07", "zip-swollen", zipped(swollen), "", "would fill the memory: 200 MiB from 200 KiB")
    yield Case("A07", "zip-overlap", patched(zipped(member("x")), _overlap), "", "zipfile before 3.11.8 has no check for it")
    yield Case("A07", "zip-lies-about-size", patched(zipped(member("x")), _lie_about_size), "", "zipfile stops at the declared size")
    yield Case("A07", "zip-encrypted", patched(zipped(member("x")), _encrypt), "", "cannot be read without the password")
    yield Case("A07", "joblib-gzip-bomb", joblib_bomb, "", "would fill the memory: 80 MiB from 80 KiB")
    yield Case("A03", "zip-comment", patched(zipped(member("x")), lambda data: data[:-2] + b"\x04\x00evil"), "", "hides a second file")
    yield Case("A03", "zip-prefix", patched(zipped(member("x")), lambda data: b"MZ prefix" + bytes(data)), "", "hides a second file")
    fills = {"traversal": (tar_traversal, "A03"), "through-link": (tar_through_link, "A01"), "absolute": (tar_absolute, "A03")}
    formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    for what, (fill, number) in fills.items():
        for kind, value in formats.items():
            yield Case(number, f"tar-{kind}-{what}", tar_file(value, "w", fill, "model.keras"), "tar")
        yield Case(number, f"tar-gz-{what}", tar_file(tarfile.PAX_FORMAT, "w:gz", fill, "model.joblib"), "tar")
    yield Case("A04", "tar-hard-link", tar_file(tarfile.PAX_FORMAT, "w", tar_hard_link, "model.keras"), "tar")
    is_open = sys.version_info < (3, 11, 13) or (3, 12) <= sys.version_info < (3, 12, 11) or (3, 13) <= sys.version_info < (3, 13, 4)
    deep = tar_file(tarfile.PAX_FORMAT, "w", tar_deep_links, "model.keras")
    yield Case("A01", "tar-deep-links", deep, "tar-data" if is_open else "", "" if is_open else "this Python has the fix of CVE-2025-4517")
    yield Case("A01", "tar-device", tar_file(tarfile.PAX_FORMAT, "w", tar_device, "model.keras"), "", "only root makes devices")


def _kind(suffix: str) -> str:
    return "zip" if suffix == "skops" else suffix
