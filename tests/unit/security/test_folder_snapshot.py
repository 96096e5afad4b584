"""A folder is copied as it is or not at all: no links or devices, nothing from outside, nothing that changes (A01 to A05, O02)."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import SourceError, StorageError
from fairlead.security import folder_snapshot
from fairlead.security.folder_snapshot import take_folder_snapshot

SECRET = b"sk_live_TEST" * 100


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as TensorFlow writes it."""
    folder = tmp_path / "in" / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "fingerprint.pb").touch()
    (folder / "variables" / "variables.index").write_bytes(b"index" * 1000)
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


def leaked(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]


def test_every_file_lies_in_its_place_with_its_digest(model: Path, tmp_path: Path) -> None:
    entries = take_folder_snapshot(model, tmp_path / "copy")
    assert [entry.name for entry in entries] == ["fingerprint.pb", "saved_model.pb", "variables/variables.index"]
    for entry in entries:
        data = (tmp_path / "copy" / entry.name).read_bytes()
        assert data == (model / entry.name).read_bytes()
        assert (entry.size_bytes, entry.digest) == (len(data), hashlib.sha256(data).hexdigest())


def test_nobody_else_can_read_or_write_the_copy(model: Path, tmp_path: Path) -> None:
    take_folder_snapshot(model, tmp_path / "copy")
    for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o400)


def test_the_users_own_path_may_be_a_link(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    assert len(take_folder_snapshot(tmp_path / "link", tmp_path / "copy")) == 3


def _symlink(place: Path, secret: Path) -> None:
    place.symlink_to(secret)


def _symlink_inside(place: Path, _: Path) -> None:
    place.symlink_to("saved_model.pb")


def _linked_folder(place: Path, secret: Path) -> None:
    place.symlink_to(secret.parent)


def _dangling(place: Path, _: Path) -> None:
    place.symlink_to("/nowhere")


def _hard_link(place: Path, secret: Path) -> None:
    os.link(secret, place)


def _fifo(place: Path, _: Path) -> None:
    os.mkfifo(place)


def _socket(place: Path, _: Path) -> None:
    here = Path.cwd()
    os.chdir(place.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place.name)
    finally:
        os.chdir(here)


def _device(place: Path, _: Path) -> None:
    try:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


LINKS = [_symlink, _symlink_inside, _linked_folder, _dangling, _hard_link, _fifo, _socket, _device]


@pytest.mark.parametrize("make", LINKS, ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("where", [".", "variables"])
def test_links_and_devices_are_refused_wherever_they_lie(
    make: Callable[[Path, Path], None], where: str, model: Path, tmp_path: Path
) -> None:
    make(model / where / "data", tmp_path / "secret")
    if make in (_symlink, _hard_link):
        assert (model / where / "data").read_bytes() == SECRET, "a naive copy would take it"
    with pytest.raises(SourceError, match=r"link or a device|hard link"):
        take_folder_snapshot(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\x1b[31m", "\u202egnp", "a\udcff", "a\u2028b"], ids=ascii)
def test_names_that_are_no_plain_text_are_refused(name: str, model: Path, tmp_path: Path) -> None:
    (model / name).write_bytes(b"x")
    with pytest.raises(SourceError, match="has a name") as caught:
        take_folder_snapshot(model, tmp_path / "copy")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "copy").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_categories=()), min_size=1, max_size=40))
def test_a_drawn_name_is_copied_into_the_folder_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "in").mkdir()
    try:
        (folder / "in" / name).write_bytes(b"x")
    except (OSError, ValueError):  # no file can have that name, or it is a path
        return
    try:
        (entry,) = take_folder_snapshot(folder / "in", folder / "copy")
    except SourceError:
        return
    assert (folder / "copy" / name).read_bytes() == b"x"
    assert "/" not in entry.name
    assert {path.name for path in folder.iterdir()} == {"in", "copy"}


def test_a_nul_byte_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be a path"):
        take_folder_snapshot(Path("a\0b"), tmp_path / "copy")


@pytest.mark.parametrize("depth", [8, 9])
def test_folders_may_be_eight_deep(depth: int, model: Path, tmp_path: Path) -> None:
    place = model.joinpath(*["d"] * depth)
    place.mkdir(parents=True)
    (place / "file").write_bytes(b"x")
    if depth == 8:
        assert len(take_folder_snapshot(model, tmp_path / "copy")) == 4
        return
    with pytest.raises(SourceError, match="too deep"):
        take_folder_snapshot(model, tmp_path / "copy")


def test_a_path_longer_than_the_system_takes_at_once_is_refused(model: Path, tmp_path: Path) -> None:
    """CVE-2025-4517 and its kin: deep enough that resolving the whole path stops checking."""
    here = Path.cwd()
    os.chdir(model)
    try:
        for _ in range(20):
            Path("d" * 247).mkdir()
            os.chdir("d" * 247)
        Path("link").symlink_to(tmp_path / "secret")
    finally:
        os.chdir(here)
    with pytest.raises(SourceError):
        take_folder_snapshot(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("what", ["files", "folders"])
def test_too_many_entries_are_refused(what: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_snapshot, "_ENTRY_LIMIT", 20)
    for number in range(20):
        place = model / "variables" / str(number)
        place.mkdir() if what == "folders" else place.write_bytes(b"x")
    with pytest.raises(SourceError, match="more than 20 files and folders"):
        take_folder_snapshot(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_too_many_bytes_in_all_are_refused(model: Path, tmp_path: Path) -> None:
    assert take_folder_snapshot(model, tmp_path / "fits", limit_bytes=5005)
    with pytest.raises(SourceError, match="more than 5004 bytes"):
        take_folder_snapshot(model, tmp_path / "copy", limit_bytes=5004)
    assert not (tmp_path / "copy").exists()


def test_a_huge_file_without_blocks_is_refused_before_it_is_read(model: Path, tmp_path: Path) -> None:
    with (model / "sparse").open("wb") as stream:
        stream.truncate(2**33)
    with pytest.raises(SourceError, match="The limit is"):
        take_folder_snapshot(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("fill", [False, True], ids=["nothing", "empty folders"])
def test_a_folder_without_files_is_refused(fill: bool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    if fill:
        (tmp_path / "in" / "assets").mkdir()
    with pytest.raises(SourceError, match="is empty"):
        take_folder_snapshot(tmp_path / "in", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_missing_or_no_folder_is_refused(model: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", model / "saved_model.pb"):
        with pytest.raises(SourceError):
            take_folder_snapshot(path, tmp_path / "copy")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("place", ["variables", "saved_model.pb", "variables/variables.index"])
def test_what_may_not_be_read_is_said(place: str, model: Path, tmp_path: Path) -> None:
    (model / place).chmod(0)
    try:
        with pytest.raises(SourceError, match=r"[Pp]ermission denied"):
            take_folder_snapshot(model, tmp_path / "copy")
    finally:
        (model / place).chmod(0o700)
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_is_there_already_stays_as_it_is(model: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine").write_bytes(b"kept")
    with pytest.raises(StorageError, match="there already"):
        take_folder_snapshot(model, tmp_path / "copy")
    assert (tmp_path / "copy" / "mine").read_bytes() == b"kept"


def test_the_copy_is_never_written_through_a_link(model: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        take_folder_snapshot(model, tmp_path / "copy")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("change", ["added", "removed", "appended"])
def test_a_folder_that_changes_while_it_is_read_is_refused(
    change: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folder_snapshot.take_snapshot

    def take_and_change(source: Path, *arguments: object, **named: object) -> object:
        if source.name == "fingerprint.pb":
            if change == "added":
                (model / "aaa").write_bytes(b"late")
            elif change == "removed":
                (model / "saved_model.pb").unlink()
        entry = real(source, *arguments, **named)  # type: ignore[arg-type]
        if change == "appended" and source.name == "saved_model.pb":
            (model / "zzz").write_bytes(b"late")
        return entry

    os.utime(model, ns=(1, 1))
    monkeypatch.setattr(folder_snapshot, "take_snapshot", take_and_change)
    with pytest.raises(SourceError, match=r"changed while|cannot be read"):
        take_folder_snapshot(model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@contextmanager
def swapping(place: Path, forms: list[Callable[[Path], None]]) -> Iterator[None]:
    """Put one form after the other in `place`, again and again, each by a rename."""
    stop = threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            spare = place.parent.parent / f"spare{number % 2}"
            old = place.parent.parent / "old"
            forms[number % len(forms)](spare)
            try:
                spare.rename(place)
            except OSError:  # a folder is in the way
                place.rename(old)
                spare.rename(place)
            for rest in (old, spare):
                if rest.is_symlink() or rest.is_file():
                    rest.unlink()
                elif rest.is_dir():
                    for child in rest.iterdir():
                        child.unlink()
                    rest.rmdir()
            number += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _outcomes(model: Path, tmp_path: Path, rounds: int) -> set[str]:
    found = set()
    for number in range(rounds):
        copy = tmp_path / "copies" / str(number)
        try:
            take_folder_snapshot(model, copy)
            found.add("copied")
            assert leaked(copy) == []
        except SourceError:
            found.add("refused")
            assert not copy.exists()
    return found


def test_a_file_that_is_swapped_for_a_link_all_the_time_never_gives_what_it_points_to(model: Path, tmp_path: Path) -> None:
    forms = [lambda spare: spare.write_bytes(b"graph"), lambda spare: spare.symlink_to(tmp_path / "secret")]
    with swapping(model / "saved_model.pb", forms):
        outcomes = _outcomes(model, tmp_path, 500)
    assert "refused" in outcomes, "the race never met a link"


def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_gives_what_lies_behind_it(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "variables.index").write_bytes(SECRET)

    def folder(spare: Path) -> None:
        spare.mkdir()
        (spare / "variables.index").write_bytes(b"index")

    with swapping(model / "variables", [folder, lambda spare: spare.symlink_to(outside)]):
        outcomes = _outcomes(model, tmp_path, 500)
    assert "refused" in outcomes, "the race never met a link"


def test_a_walk_by_paths_would_follow_the_swapped_folder(model: Path, tmp_path: Path) -> None:
    """The control: between listing a folder and opening a file by its path, a link in the folder's place is followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "variables.index").write_bytes(SECRET)
    (path,) = (model / "variables").iterdir()
    (model / "variables").rename(tmp_path / "old")
    (model / "variables").symlink_to(outside)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        assert stream.read() == SECRET


def test_no_descriptor_stays_open(model: Path, tmp_path: Path) -> None:
    def held() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = held()
    take_folder_snapshot(model, tmp_path / "copy")
    (model / "variables" / "link").symlink_to("x")
    with pytest.raises(SourceError):
        take_folder_snapshot(model, tmp_path / "again")
    assert held() == before
