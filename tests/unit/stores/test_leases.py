from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairlead.errors import StorageError
from fairlead.stores.leases import hold, prune

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for digest in (ONE, TWO):
        (tmp_path / "loaded" / digest).mkdir(parents=True)
        (tmp_path / "loaded" / digest / "model.onnx").write_bytes(b"weights")
    return tmp_path / "loaded"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_nobody_holds_goes_and_what_somebody_holds_stays(folder) -> None:
    let_go = hold(ONE, folder)
    assert prune(folder) == 1
    assert names(folder) == {ONE, f"{ONE}.lease"}
    let_go()
    assert prune(folder) == 1
    assert names(folder) == set()


def test_what_is_to_be_kept_stays_and_other_files_are_nobodys_business(folder) -> None:
    (folder / "lock").touch()
    assert prune(folder, keep=[TWO]) == 1
    assert names(folder) == {TWO, "lock"}


def test_two_holders_each_have_to_let_go_and_letting_go_twice_does_no_harm(folder) -> None:
    first, second = hold(ONE, folder), hold(ONE, folder)
    first()
    first()
    assert prune(folder) == 1
    assert ONE in names(folder)
    second()
    assert prune(folder) == 1


def test_another_process_holds_until_it_is_killed(folder) -> None:
    program = (
        "import sys, time; from pathlib import Path; from fairlead.stores.leases import hold; "
        f"hold({ONE!r}, Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        assert prune(folder) == 1
        assert ONE in names(folder)
    finally:
        other.kill()
        other.communicate()
    assert prune(folder) == 1
    assert names(folder) == set()


def test_holding_and_pruning_at_once_never_removes_what_is_held(folder) -> None:
    missing, ends = [], threading.Event()

    def use() -> None:
        for _ in range(150):
            let_go = hold(ONE, folder)
            (folder / ONE).mkdir(exist_ok=True)
            if not (folder / ONE).is_dir() or not (folder / f"{ONE}.lease").exists():
                missing.append("gone")
            let_go()

    def remove() -> None:
        while not ends.is_set():
            prune(folder)

    remover, users = threading.Thread(target=remove), [threading.Thread(target=use) for _ in range(3)]
    remover.start()
    for user in users:
        user.start()
    for user in users:
        user.join()
    ends.set()
    remover.join()
    assert missing == []


def test_that_without_holding_the_folder_would_have_been_removed(folder) -> None:
    assert prune(folder) == 2
    assert not (folder / ONE).exists()


def test_a_link_in_the_place_of_the_lease_is_refused(folder, tmp_path) -> None:
    (tmp_path / "elsewhere").touch()
    (folder / f"{ONE}.lease").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        hold(ONE, folder)


def test_a_folder_that_is_not_there_needs_no_pruning(tmp_path) -> None:
    assert prune(tmp_path / "nothing") == 0
