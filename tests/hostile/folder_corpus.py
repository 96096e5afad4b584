"""Builders of bad model folders, made at test time (A01 to A05): what a copy of a folder may be made to follow or to choke on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus import Case

CONTROLS = {
    # A copy that follows links takes what lies outside: the planted file then lies in the copy.
    "copytree": (
        "import pathlib, shutil\n"
        "shutil.copytree(path, folder + '/copy')\n"
        "taken = any(item.is_file() and item.read_bytes() == b'planted' for item in pathlib.Path(folder).rglob('*'))\n"
        "taken and pathlib.Path(path, '..', 'canary').touch()"
    ),
}
Fill = Callable[[Path, Path], None]


def folder(fill: Fill) -> Callable[[Path, Path], Path]:
    """A folder that would be a SavedModel, and what `fill` puts into it; a planted file lies beside it."""

    def build(place: Path, _: Path) -> Path:
        model = place / "model"
        (model / "variables").mkdir(parents=True)
        (model / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
        planted = place / "planted"
        planted.mkdir()
        (planted / "file").write_bytes(b"planted")
        fill(model, planted)
        return model

    return build


def _link(model: Path, planted: Path) -> None:
    (model / "variables" / "variables.index").symlink_to(planted / "file")


def _link_to_folder(model: Path, planted: Path) -> None:
    (model / "assets").symlink_to(planted)


def _relative_link(model: Path, _: Path) -> None:
    (model / "assets").symlink_to("../planted")


def _hard_link(model: Path, planted: Path) -> None:
    os.link(planted / "file", model / "variables" / "variables.index")


def _link_for_model(model: Path, planted: Path) -> None:
    (model / "saved_model.pb").unlink()
    (model / "saved_model.pb").symlink_to(planted / "file")


def _pipe(model: Path, _: Path) -> None:
    os.mkfifo(model / "variables" / "variables.index")


def _circle(model: Path, _: Path) -> None:
    (model / "variables" / "up").symlink_to("..")


def _named(name: str) -> Fill:
    def fill(model: Path, _: Path) -> None:
        (model / name).write_bytes(b"x")

    return fill


def _deep(model: Path, _: Path) -> None:
    model.joinpath(*["d"] * 12).mkdir(parents=True)
    model.joinpath(*["d"] * 12, "file").write_bytes(b"x")


def _many(model: Path, _: Path) -> None:
    for number in range(4100):
        (model / "variables" / str(number)).touch()


def _sparse(model: Path, _: Path) -> None:
    with (model / "variables" / "variables.data").open("wb") as stream:
        stream.truncate(2**33)


def hostile_cases() -> Iterator[Case]:
    """Yield every case that is a folder."""
    for name, fill in (
        ("link-to-a-file", _link), ("link-to-a-folder", _link_to_folder), ("relative-link", _relative_link), ("hard-link", _hard_link),
        ("link-for-the-model", _link_for_model),
    ):  # fmt: skip
        yield Case("A05", f"folder-{name}", folder(fill), "copytree")
    yield Case("A05", "folder-pipe", folder(_pipe), "", "a copy would wait forever")
    yield Case("A05", "folder-circle-of-links", folder(_circle), "", "a copy would never end")
    for name in ("a\nb", "a\\b", "a\x1b[2J", "\u202ebp.ledom"):
        yield Case("A03", f"folder-{name.encode('unicode_escape').decode()}", folder(_named(name)), "", "harms who prints or splits it")
    yield Case("A01", "folder-12-deep", folder(_deep), "", "no code: paths without end")
    yield Case("A07", "folder-4100-files", folder(_many), "", "no code: files without end")
    yield Case("A07", "folder-8-GiB-of-nothing", folder(_sparse), "", "would fill the disk")
