"""The kernel for trees, compiled once per machine by the system's C compiler, and loaded.

Takes the constant sources beside this file, and `cc` from PATH; gives the loaded library. Raises EnvironmentalError where there is no
compiler, or where what it makes does not run here. What was compiled is kept in the user's cache folder (XDG_CACHE_HOME, else ~/.cache),
named by the SHA-256 of sources, compiler, flags and processor. It is code, so it is only ever loaded from a folder and a file that are this
user's own and that nobody else can write, reached without following a link and opened by the descriptor that was looked at; where
there is no such folder, it is compiled into a private temporary one for this process alone. Two processes may build at once: each
renames a finished file into place.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fairlead.core.interface import shorten
from fairlead.errors import EnvironmentalError

SOURCES = ("trees_kernel.c", "trees_walk.h", "trees_outputs.h")
# Sums must be rounded as the library rounds them: nothing reassociated, no multiplication fused with an addition.
_FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
_FOLDERS = ("fairlead", "kernels")  # below the cache folder
_TIME_LIMIT_S = 120.0
_HINT = (
    "Install a C compiler (Debian and Ubuntu: apt install gcc libc6-dev), or leave the engine 'trees' out: ONNX Runtime runs the model too."
)
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Recipe:
    """How the kernel is made here; `key` names what comes out."""

    compiler: str
    version: str
    flags: tuple[str, ...]
    key: str


@functools.cache
def kernel() -> ctypes.CDLL:
    """Return the loaded kernel; the first call in a process finds it or builds it, and raises EnvironmentalError where it cannot."""
    return load(find_recipe(), cache_folder())


@functools.cache
def find_recipe() -> Recipe:
    """Return how the kernel is made on this machine; raises EnvironmentalError where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise EnvironmentalError("Compiled trees need a C compiler, and there is no 'cc' on PATH.", hint=_HINT)
    version = _call([compiler, "--version"], Path("/")).splitlines()[0]
    processor = _processor()
    flags = (*_FLAGS, "-march=native") if processor else _FLAGS
    digest = hashlib.sha256()
    for part in (*(read_source(name) for name in SOURCES), version, " ".join(flags), platform.machine(), processor):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return Recipe(compiler, version, flags, digest.hexdigest())


def read_source(name: str) -> str:
    """Return one of the kernel's sources."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def cache_folder() -> Path | None:
    """Return the user's cache folder, None where the user has none."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given.startswith("/"):
        return Path(given)
    with suppress(RuntimeError):  # a user without a home
        return Path.home() / ".cache"
    return None


def load(recipe: Recipe, cache: Path | None) -> ctypes.CDLL:
    """Return the kernel of `recipe` from below `cache`, built where it is not there or not ours to trust."""
    with ExitStack() as stack:
        folder = stack.enter_context(_private_folder(cache)) if cache is not None else None
        library = _load_from(recipe, folder) if folder is not None else None
        if library is not None:
            return library
        own = stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-kernel-"))
        descriptor = os.open(own, _DIRECTORY)
        stack.callback(os.close, descriptor)
        library = _load_from(recipe, descriptor)
        if library is None:
            raise EnvironmentalError(
                "The compiled kernel for trees cannot be loaded.",
                hint="Are the cache folder and the folder for temporary files mounted 'noexec'? Set XDG_CACHE_HOME or TMPDIR to others.",
            )
        return library


def _load_from(recipe: Recipe, folder: int) -> ctypes.CDLL | None:
    """Return the kernel from `folder`, built where it is not there yet; None where it cannot be kept there or loaded from there."""
    library = _open_trusted(recipe, folder)
    if library is None:
        try:
            _build(recipe, folder)
        except OSError:
            return None
        library = _open_trusted(recipe, folder)
    return library


@contextmanager
def _private_folder(cache: Path) -> Iterator[int | None]:
    """Give a descriptor of the folder for kernels below `cache`, made where it is missing; None where it is not this user's alone."""
    with ExitStack() as stack:
        descriptor: int | None = None
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # a user's ~/.cache may well be a link
            stack.callback(os.close, descriptor)
            for name in _FOLDERS:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=descriptor)
                descriptor = os.open(name, _DIRECTORY, dir_fd=descriptor)
                stack.callback(os.close, descriptor)
            if not _is_own(os.fstat(descriptor), stat.S_IFDIR):
                descriptor = None
        except OSError:
            descriptor = None
        yield descriptor


def _is_own(found: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS_MAY_WRITE


def _open_trusted(recipe: Recipe, folder: int) -> ctypes.CDLL | None:
    """Return the library in `folder`; None where it is absent, is not this user's alone, cannot be loaded, or is another one."""
    name = f"{recipe.key}.so"
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not _is_own(found, stat.S_IFREG) or found.st_nlink != 1:
            return None
        # Nobody else can change what the folder's descriptor leads to. The loader knows libraries by name: the key makes it one of its own.
        library = ctypes.CDLL(f"/proc/self/fd/{folder}/{name}")
        library.fairlead_trees_key.restype = ctypes.c_char_p
        library.fairlead_trees_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
        return library if library.fairlead_trees_key() == recipe.key.encode() else None
    except (OSError, AttributeError):
        return None
    finally:
        os.close(descriptor)


def _build(recipe: Recipe, folder: int) -> None:
    """Compile in a private temporary folder, and put the whole library into `folder` under its name; raises EnvironmentalError, OSError."""
    with tempfile.TemporaryDirectory(prefix="fairlead-kernel-") as place:
        for name in SOURCES:
            (Path(place) / name).write_text(read_source(name), encoding="utf-8")
        key = f'-DFAIRLEAD_KEY="{recipe.key}"'
        _call([recipe.compiler, *recipe.flags, key, SOURCES[0], "-o", "kernel.so", "-lm"], Path(place))
        content = (Path(place) / "kernel.so").read_bytes()
    part = f".{recipe.key}-{os.getpid()}-{secrets.token_hex(8)}"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, f"{recipe.key}.so", src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(part, dir_fd=folder)
        raise


def _call(command: list[str], place: Path) -> str:
    """Return what the compiler prints; it sees nothing of this process's environment but PATH."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TMPDIR": str(place)}
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIME_LIMIT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        said = shorten(" ".join(error.stderr.decode(errors="replace").split()), 300)
        raise EnvironmentalError(f"The C compiler 'cc' fails: {said or f'exit status {error.returncode}'}.", hint=_HINT) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentalError(f"The C compiler 'cc' does not run ({type(error).__name__}).", hint=_HINT) from None
    return done.stdout.decode(errors="replace")


def _processor() -> str:
    """Return what decides on the instructions that `native` means, "" where the system does not tell."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return ""
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if not facts.get("flags"):
        return ""
    return "|".join(facts.get(key, "") for key in ("vendor_id", "cpu family", "model", "stepping", "flags"))
