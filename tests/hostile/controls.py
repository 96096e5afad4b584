"""The positive controls: the raw library opens the same file in a throw-away process, and the canary appears, or the process dies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from corpus import Case, corpora

CONTROLS = {
    "pickle": "import pickle; pickle.load(open(path, 'rb'))",
    "joblib": "import joblib; joblib.load(path)",
    "members": (
        "import pickle, zipfile\n"
        "archive = zipfile.ZipFile(path)\n"
        "for name in archive.namelist():\n"
        "    try: pickle.loads(archive.read(name))\n"
        "    except Exception: pass"
    ),
    "skops": "import skops.io; skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))",
    "tar": "import tarfile; tarfile.open(path).extractall(folder, filter='fully_trusted')",
    "tar-data": "import tarfile; tarfile.open(path).extractall(folder, filter='data')",
}


def fired(some: list[Case], folder: Path) -> set[str]:
    """Build the cases' files and load them with their raw library in throw-away processes; return the labels of those whose canary
    appeared, or whose process died of a signal where that is the control. One process serves all canaries of a library.
    """
    controls = {name: code for module in corpora() for name, code in getattr(module, "CONTROLS", {}).items()} | CONTROLS
    found = set()
    for number, (control, chosen) in enumerate(_batches(some)):
        work = []
        for place, case in ((folder / f"{control}{number}-{item}", case) for item, case in enumerate(chosen)):
            (place / "out").mkdir(parents=True)
            work.append((case, str(case.build(place, place / "canary")), place))
        files = json.dumps([(path, str(place / "out")) for _, path, place in work])
        is_crash = chosen[0].control_kind == "crash"
        runner = [sys.executable, "-c", _CRASHES if is_crash else _RUNNER, files, controls[control], chosen[0].library]
        said = subprocess.run(runner, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=240, check=False).stdout
        died = set(json.loads(said.splitlines()[-1])) if is_crash else set()
        found |= {case.label for case, path, place in work if path in died or (place / "canary").exists()}
    return found


def _batches(some: list[Case]) -> Iterator[tuple[str, list[Case]]]:
    """Cases that one process can try: of one control, one kind and one library."""
    chosen = [case for case in some if case.control]
    for key in sorted({(case.control, case.control_kind, case.library) for case in chosen}):
        yield key[0], [case for case in chosen if (case.control, case.control_kind, case.library) == key]


_RUNNER = """
import json, sys, warnings
warnings.simplefilter("ignore")
for path, folder in json.loads(sys.argv[1]):
    try:
        exec(sys.argv[2], {"path": path, "folder": folder})
    except Exception:
        pass
"""

# The library is imported once; each file is opened by a fork of that process, which may die of it.
_CRASHES = """
import importlib, json, os, signal, sys, warnings
warnings.simplefilter("ignore")
importlib.import_module(sys.argv[3])
died = []
for path, folder in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            exec(sys.argv[2], {"path": path, "folder": folder})
        except BaseException:
            pass
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGALRM:
        died.append(path)
print("\\n" + json.dumps(died))
"""
