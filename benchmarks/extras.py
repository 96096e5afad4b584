"""What does each extra cost, and does it work alone? Installs each into an environment of its own and deploys a model there.

python benchmarks/extras.py [--only EXTRA ...] [--folder FOLDER] [--write docs/reference/extras.md]

1. The interpreter that runs this, which has every framework, trains and saves a small model for each extra.
2. For the core and for each extra in pyproject.toml, one after the other: a fresh virtual environment (uv: one on the PATH, else
   .uv/bin/uv, where scripts/environment.sh puts it), `uv pip install .[extra]`, compiled; packages, megabytes of the whole environment,
   seconds. Wheels come from uv's cache where it has them, PyTorch from pip's find-links where that is configured.
3. `fairlead deploy` of the extra's model in that environment. What compared or ran it has to be the extra's own library.
4. The environment is deleted.

Exits with 1 if an extra does not work alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extra_models import SMOKES, Smoke, make

ROOT = Path(__file__).resolve().parents[1]
CORE = "core"
BEGIN, END = "<!-- extras begin -->", "<!-- extras end -->"
_NOT_OURS = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTHONPATH")
_TIME_S = 1800


@dataclass(frozen=True)
class Line:
    """What came of one extra. `failure` is "" where it works alone."""

    extra: str
    package_count: int
    size_bytes: int
    install_s: float
    shown: str
    failure: str = ""


def main() -> int:
    arguments = _parse()
    if arguments.make:
        make(arguments.make, arguments.folder)
        return 0
    with tempfile.TemporaryDirectory(prefix="fairlead-extras-") as temporary:
        folder = arguments.folder or Path(temporary)
        lines = [_measure(extra, folder) for extra in (CORE, *extras()) if not arguments.only or extra in arguments.only]
    table = markdown(lines)
    print(table)
    if arguments.write:
        _write(arguments.write, table)
    return 1 if any(line.failure for line in lines) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="EXTRA")
    parser.add_argument("--folder", type=Path, help="put models and environments here; models stay")
    parser.add_argument("--write", type=Path, help="put the table into this document, between its marks")
    parser.add_argument("--make", choices=sorted(SMOKES), help=argparse.SUPPRESS)
    return parser.parse_args()


def extras() -> tuple[str, ...]:
    """Return the extras that pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(project["optional-dependencies"])


def _measure(extra: str, folder: Path) -> Line:
    if extra not in SMOKES:
        return Line(extra, 0, 0, 0.0, "", "no model is made for it in benchmarks/extra_models.py")
    models = folder / "models" / extra
    if not models.exists():
        models.mkdir(parents=True)
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "jax"}
        subprocess.run(
            [sys.executable, __file__, "--make", extra, "--folder", str(models)], check=True, env=os.environ | quiet, stdout=sys.stderr
        )
    environment = folder / f"venv-{extra}"
    try:
        seconds = _install(extra, environment)
        listed = json.loads(_uv("pip", "list", "--format", "json", "--python", str(environment / "bin/python")))
        failures, shown = [], []
        for smoke in SMOKES[extra]:
            said, failure = _deploy(smoke, models, environment, folder / f"home-{extra}")
            shown.append(said)
            failures += [failure] if failure else []
        line = Line(extra, len(listed), _size(environment), seconds, "; ".join(shown), "; ".join(failures))
    except subprocess.CalledProcessError as error:
        line = Line(extra, 0, 0, 0.0, "", f"cannot be installed: {_last(error.stderr)}")
    finally:
        shutil.rmtree(environment, ignore_errors=True)
        shutil.rmtree(folder / f"home-{extra}", ignore_errors=True)
    print(
        f"{extra}: {line.package_count} packages, {line.size_bytes / 1e6:.0f} MB, {line.install_s:.1f} s; {line.failure or 'works'}",
        file=sys.stderr,
        flush=True,
    )
    return line


def _install(extra: str, environment: Path) -> float:
    """Make the environment; return how many seconds the installation alone took."""
    _uv("venv", "--quiet", "--python", sys.executable, str(environment))
    what = str(ROOT) if extra == CORE else f"{ROOT}[{extra}]"
    limits = []
    if "UV_FIND_LINKS" in _environment():  # the index serves PyTorch with CUDA: the pinned build for the processor lies there
        pinned = environment / "constraints.txt"
        lines = (ROOT / "requirements" / "torch.txt").read_text(encoding="utf-8").splitlines()
        pinned.write_text("\n".join(line.split(" --hash")[0] for line in lines if not line.startswith("#")), encoding="utf-8")
        limits = ["--constraint", str(pinned)]
    started = time.perf_counter()
    _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(environment / "bin/python"), *limits, what)
    return time.perf_counter() - started


def _uv(*arguments: str) -> str:
    own = ROOT / ".uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else "")
    if not found:
        raise SystemExit("no uv found: scripts/environment.sh installs one (make setup)")
    return subprocess.run(
        [found, *arguments], check=True, capture_output=True, text=True, timeout=_TIME_S, env=_environment(), cwd=ROOT
    ).stdout


def _environment() -> dict[str, str]:
    """Return the variables of this process, with what pip is told about index and wheels: uv reads no pip.conf."""
    found = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    for variable, option in (("INDEX_URL", "index-url"), ("FIND_LINKS", "find-links")):
        asked = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", f"global.{option}"], capture_output=True, text=True, check=False
        )
        value = found.get(f"PIP_{variable}") or (asked.stdout.strip() if asked.returncode == 0 else "")
        ours = "UV_DEFAULT_INDEX" if variable == "INDEX_URL" else "UV_FIND_LINKS"
        if value and ours not in found:
            found[ours] = value
    return found


def _deploy(smoke: Smoke, models: Path, environment: Path, home: Path) -> tuple[str, str]:
    """Return what to show in the table, and why the deployment is not what it should be ("" if it is)."""
    name = smoke.file.replace(".", "-").replace("_", "-").lower()
    command = [str(environment / "bin/fairlead"), "deploy", str(models / smoke.file), "--name", name, "--home", str(home), "--json"]
    if (models / f"{smoke.file}.npz").exists():
        command += ["--data", str(models / f"{smoke.file}.npz")]
    clean = {name: value for name, value in _environment().items() if not name.startswith(("KERAS_", "FAIRLEAD_"))}
    started = time.perf_counter()
    done = subprocess.run(
        [*command, *smoke.options], check=False, capture_output=True, text=True, timeout=_TIME_S, env=clean, cwd=home.parent
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        return f"{smoke.file}: FAILED", f"{smoke.file}: {_last(done.stderr)}"
    verdict: Mapping[str, Any] = json.loads(done.stdout)["verdict"]
    text = f"{verdict['engine']} against {verdict['reference']}"
    shown = f"`{smoke.file}` ({seconds:.0f} s: {text})"
    if smoke.module:
        imported = subprocess.run([environment / "bin/python", "-c", f"import {smoke.module}"], check=False, capture_output=True, text=True)
        if imported.returncode:
            return f"{smoke.module}: FAILED", f"{smoke.module}: {_last(imported.stderr)}"
        shown = f"`{smoke.module}`"
    return shown, "" if smoke.expected in text else f"{smoke.file}: {smoke.expected} had no part in it ({text})"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-3:])[:400]


def markdown(lines: Sequence[Line]) -> str:
    """Return the table."""
    core = next((line.size_bytes for line in lines if line.extra == CORE), 0)
    rows = ["| extra | packages | MB in all | MB more than the core | seconds | deployed there |", "|---|---:|---:|---:|---:|---|"]
    for line in lines:
        more = "" if line.extra == CORE or not core else f"{(line.size_bytes - core) / 1e6:.0f}"
        told = line.shown if not line.failure else f"FAILED: {line.failure}"
        figures = f"{line.package_count} | {line.size_bytes / 1e6:.0f} | {more} | {line.install_s:.1f}"
        rows.append(f"| {line.extra} | {figures} | {told.replace('|', '/')} |")
    wheels = (
        "PyTorch from a folder of wheels (its build for the processor)" if "UV_FIND_LINKS" in _environment() else "PyTorch from the index"
    )
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores; {wheels}."
    return "\n".join([where, "", *rows])


def _write(document: Path, table: str) -> None:
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
