"""Does a model that came in an MLflow folder answer as the flavor that wrote it? Saves a battery of folders with MLflow and compares.

python benchmarks/mlflow_battery.py [--only TEXT] [--in-process] [--write docs/formats/mlflow.md]

Each folder is written by MLflow itself (every flavor that is read, every way in which the flavor serialises), and goes through ingest and
convert as a user's folder does, in the sandbox (--in-process: without it, faster). MLflow's own flavor loads the same folder; both answer
ordinary rows, rows at the model's thresholds and one unit in the last place to both sides, and, where the library takes them, missing
values and infinities. Exits with 1 if a decision differs, or if a folder is refused that should not be.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "KERAS_BACKEND": "tensorflow"}

from booster_check import Line, check
from booster_print import main
from fairlead.core.ports import Sandbox
from fairlead.security.sandbox import OneShotSandbox
from mlflow_models import boosters, estimators, networks
from mlflow_models.folder import Folder

TITLE = "MLflow"
FOLDERS: list[Folder] = [*estimators.FOLDERS, *boosters.FOLDERS, *networks.FOLDERS]


def lines(sandbox: Sandbox, only: str = "") -> Iterator[Line]:
    """Check one folder after the other."""
    warnings.simplefilter("ignore")  # pickles, missing signatures, names of columns: what MLflow and its libraries say to their users
    for folder in FOLDERS:
        if only in folder.title:
            yield check(folder.model(), sandbox)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """What the matrix of conversions shows."""
    sandbox = OneShotSandbox()
    warnings.simplefilter("ignore")
    for folder in FOLDERS:
        line = check(folder.model(), sandbox)
        family = "refused on purpose" if line.outcome == "refused" else folder.family
        yield f"{TITLE} {folder.flavor}", f"{family}: {folder.name}", line.outcome, line.detail


if __name__ == "__main__":
    sys.exit(main(__doc__, TITLE, lines, f"mlflow {metadata.version('mlflow')}"))
