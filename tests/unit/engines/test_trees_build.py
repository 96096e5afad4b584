"""The kernel's cache: built once, by any number of processes at once; what others could have put there is never loaded."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.engines import trees_build
from fairlead.engines.trees_build import Recipe, cache_folder, find_recipe, load
from fairlead.errors import EnvironmentalError

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
EVIL = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { FILE *file = fopen("%s", "w"); if (file) fclose(file); }
const char *fairlead_trees_key(void) { return "%s"; }
int fairlead_trees_run(const void *trees, const void *rows, long count, void *answers) { return 0; }
"""
SMALL = """
const char *fairlead_trees_key(void) { return FAIRLEAD_KEY; }
int fairlead_trees_run(const void *trees, const void *rows, long count, void *answers) { return 0; }
"""
NOBODY = 65534


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """The true recipe under a name of this test's own: a process loads a library of one name once."""
    return replace(find_recipe(), key=request.node.name.encode().hex()[:120])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built stands for the kernel, and takes a tenth of the time."""
    monkeypatch.setattr(trees_build, "read_source", lambda name: SMALL)


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "fairlead" / "kernels"
    folder.mkdir(parents=True, mode=0o700)
    return folder


@pytest.fixture
def evil(tmp_path: Path, recipe: Recipe) -> tuple[Path, Path]:
    """A library that leaves a trace when it is loaded, and the trace."""
    trace, source, library = tmp_path / "trace", tmp_path / "evil.c", tmp_path / "evil.so"
    source.write_text(EVIL % (trace, recipe.key))
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    library.chmod(0o600)
    return library, trace


def works(library: ctypes.CDLL, recipe: Recipe) -> bool:
    return library.fairlead_trees_key() == recipe.key.encode()


@needs_cc
@pytest.mark.usefixtures("small")
def test_it_is_built_once_and_loaded_from_the_users_own_folder(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    call = trees_build._call
    monkeypatch.setattr(trees_build, "_call", lambda command, place: (calls.append(command), call(command, place))[1])
    assert works(load(recipe, tmp_path), recipe)
    (built,) = (tmp_path / "fairlead" / "kernels").iterdir()
    assert built.name == f"{recipe.key}.so"
    assert (built.stat().st_mode & 0o777, built.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert works(load(recipe, tmp_path), recipe)
    assert len(calls) == 1


@needs_cc
@pytest.mark.usefixtures("small")
def test_a_sound_file_in_a_sound_folder_is_loaded_as_it_is(tmp_path: Path, kernels: Path, recipe: Recipe, evil: tuple[Path, Path]) -> None:
    """The control of the attacks: what the user's own processes left there runs."""
    shutil.copy(evil[0], kernels / f"{recipe.key}.so")
    load(recipe, tmp_path)
    assert evil[1].exists()


def _link(library: Path, target: Path) -> None:
    target.symlink_to(library)


def _hard_link(library: Path, target: Path) -> None:
    os.link(library, target)


def _group_writable(library: Path, target: Path) -> None:
    shutil.copy(library, target)
    target.chmod(0o620)


def _world_writable(library: Path, target: Path) -> None:
    shutil.copy(library, target)
    target.chmod(0o602)


def _foreign(library: Path, target: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    shutil.copy(library, target)
    os.chown(target, NOBODY, NOBODY)


def _open_folder(library: Path, target: Path) -> None:
    shutil.copy(library, target)
    target.parent.chmod(0o777)


def _group_folder(library: Path, target: Path) -> None:
    shutil.copy(library, target)
    target.parent.chmod(0o770)


def _foreign_folder(library: Path, target: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    shutil.copy(library, target)
    os.chown(target.parent, NOBODY, NOBODY)


def _linked_folder(library: Path, target: Path) -> None:
    shutil.copy(library, target)
    target.parent.rename(target.parent.with_name("elsewhere"))
    target.parent.symlink_to("elsewhere")


def _pipe(library: Path, target: Path) -> None:
    del library
    os.mkfifo(target, 0o600)


ATTACKS = [
    _link, _hard_link, _group_writable, _world_writable, _foreign, _open_folder, _group_folder, _foreign_folder, _linked_folder, _pipe,
]  # fmt: skip


@needs_cc
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_others_could_have_put_there_is_never_loaded(
    attack: Callable[[Path, Path], None], tmp_path: Path, kernels: Path, recipe: Recipe, evil: tuple[Path, Path]
) -> None:
    attack(evil[0], kernels / f"{recipe.key}.so")
    assert works(load(recipe, tmp_path), recipe)
    assert not evil[1].exists()


@needs_cc
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no library at all"])
def test_a_damaged_file_is_built_again(content: bytes, tmp_path: Path, kernels: Path, recipe: Recipe) -> None:
    (kernels / f"{recipe.key}.so").write_bytes(content)
    assert works(load(recipe, tmp_path), recipe)
    assert (kernels / f"{recipe.key}.so").stat().st_size > 1000


@needs_cc
@pytest.mark.usefixtures("small")
def test_the_library_of_another_recipe_under_this_name_is_built_again(tmp_path: Path, kernels: Path, recipe: Recipe) -> None:
    other = replace(recipe, key=recipe.key[:-2] + "zz")
    load(other, tmp_path)
    (kernels / f"{other.key}.so").rename(kernels / f"{recipe.key}.so")
    assert works(load(recipe, tmp_path), recipe)


@needs_cc
@pytest.mark.usefixtures("small")
def test_without_a_folder_for_it_a_process_builds_for_itself_and_leaves_nothing(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    assert works(load(recipe, tmp_path / "file" / "cache"), recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@needs_cc
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    code = "from fairlead.engines.trees_build import kernel; print(kernel().fairlead_trees_key().decode())"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert said[0] == said[1] != ""
    assert [path.name for path in (tmp_path / "fairlead" / "kernels").iterdir()] == [f"{said[0]}.so"]


@pytest.fixture
def fresh_recipe() -> None:
    find_recipe.cache_clear()
    yield
    find_recipe.cache_clear()


@pytest.mark.usefixtures("fresh_recipe")
def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentalError, match="no 'cc' on PATH") as caught:
        find_recipe()
    assert "install gcc" in caught.value.hint


@pytest.mark.usefixtures("fresh_recipe")
@pytest.mark.parametrize("script", ["exit 1", "echo 'fatal: no licence' >&2; exit 3", "exec /no/such/program"])
def test_a_compiler_that_fails_is_told_in_its_own_words(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cc").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "cc").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentalError, match="The C compiler 'cc'") as caught:
        find_recipe()
    assert ("no licence" in str(caught.value)) == ("licence" in script)


@needs_cc
def test_sources_that_do_not_compile_are_an_error_that_leaves_nothing(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees_build, "read_source", lambda name: "#error no headers")
    with pytest.raises(EnvironmentalError, match="no headers"):
        load(recipe, tmp_path)
    assert list((tmp_path / "fairlead" / "kernels").iterdir()) == []


@needs_cc
def test_the_compiler_sees_nothing_of_the_environment(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees_build, "read_source", lambda name: "#include <math.h>\n" + SMALL)
    (tmp_path / "math.h").write_text("#error taken from CPATH")
    monkeypatch.setenv("CPATH", str(tmp_path))
    control = subprocess.run(["cc", "-xc", "-E", "-"], input="#include <math.h>\n", capture_output=True, text=True, check=False)
    assert control.returncode != 0
    assert works(load(recipe, tmp_path / "cache"), recipe)


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG rule: such a value is not taken
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache")


@needs_cc
@pytest.mark.usefixtures("fresh_recipe")
def test_another_processor_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    here = find_recipe()
    find_recipe.cache_clear()
    monkeypatch.setattr(trees_build, "_processor", lambda: "another")
    other = find_recipe()
    find_recipe.cache_clear()
    monkeypatch.setattr(trees_build, "_processor", lambda: "")
    unknown = find_recipe()
    assert len({here.key, other.key, unknown.key}) == 3
    assert "-march=native" not in unknown.flags


@pytest.mark.slow
def test_a_wheel_holds_the_kernels_sources(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=root, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert {f"fairlead/engines/{name}" for name in trees_build.SOURCES} <= set(held)
