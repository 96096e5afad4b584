"""The Python door: what `import fairlead` offers. Each name does what the command of that name does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.app import release
from fairlead.app.deploy import Deployed, DeployRequest, name_from
from fairlead.app.deploy import deploy as deploy_request
from fairlead.app.load import Model, open_model
from fairlead.app.release import Outcome
from fairlead.app.source_options import parse_options
from fairlead.app.wiring import build_house
from fairlead.core.interface import Task
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.core.version import PRODUCTION

__all__ = ["Deployed", "Model", "deploy", "load", "rollback"]


def deploy(
    model: str | Path,
    *,
    name: str | None = None,
    data: str | Path | tuple[Any, Any] | None = None,
    target: str | None = None,
    require: Sequence[str] = (),
    task: str | None = None,
    cores: int = 1,
    alias: str = PRODUCTION,
    engine: str = "",
    model_class: str | None = None,
    model_arguments: Mapping[str, str | int | float | bool | None] | None = None,
    inputs: Sequence[str] = (),
    import_paths: Sequence[str | Path] = (),
    signature: str | None = None,
    tracking_uri: str = "",
    home: str | Path | None = None,
) -> Deployed:
    """Prove a model file, register it, and point `alias` at it; return the version with its verdict.

    `data` is a .npz, .npy, .csv or .parquet file (`target` names its column of right answers), or a pair (x, y) of arrays.
    `require` takes texts like "accuracy>=0.95". `engine` is the only engine wanted; "" takes the fastest on this machine. `model_class`
    ("module:Class", with `model_arguments`, found in `import_paths`) and `inputs` ("x=float32[batch,28,28]") are for PyTorch files that
    do not say them, `signature` for a SavedModel that has several. A `model` like "models:/churn@champion" or "runs:/..." comes from the
    MLflow server `tracking_uri` ("": MLFLOW_TRACKING_URI). Raises RejectedError where a requirement is not met.
    """
    path = Path(model)
    request = DeployRequest(
        model=path,
        name=name or name_from(path),
        data=Path(data) if isinstance(data, str | Path) else data,
        target_column=target,
        requirements=parse_requirements(require),
        task=Task(task) if task else None,
        target=Target(core_count=cores),
        alias=alias,
        command=f"fairlead.deploy({str(path)!r})",
        options=replace(
            parse_options(model_class, (), inputs, map(Path, import_paths), signature), model_arguments=dict(model_arguments or {})
        ),
        engine=engine,
        tracking_uri=tracking_uri,
    )
    return deploy_request(request, build_house(home), _Silence())


def load(reference: str, *, home: str | Path | None = None) -> Model:
    """Load a registered version into this process: `digits`, `digits:3` or `digits@production`."""
    return open_model(reference, build_house(home))


def rollback(name: str, *, alias: str = PRODUCTION, home: str | Path | None = None) -> Outcome:
    """End the model's canary, or take `alias` back to the version before; return where it points and which servers have followed."""
    return release.rollback(name, build_house(home), alias=alias)


class _Silence:
    """Progress that nobody watches."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""

    def done(self, text: str) -> None:
        """Say nothing."""
