"""One model of the battery: its class, what it takes, what it is asked, and as which files it is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec

PROGRAM, SCRIPT, STATE, SAFETENSORS = "PyTorch .pt2", "TorchScript .pt", "PyTorch state_dict", "safetensors"
FORMATS = (PROGRAM, SCRIPT, STATE, SAFETENSORS)
SEED = 11


@dataclass(frozen=True)
class Case:
    """`build` is a class of this package; `inputs` are what the user would say; `lengths` stand for free sizes.

    `is_training`: it is saved without `model.eval()`, and has to be refused; so has a .pt2 without a free batch. `is_frozen`: torch.export
    itself freezes the length of such layers, so that a .pt2 of it has one length.
    """

    build: Callable[[], torch.nn.Module]
    family: str
    inputs: tuple[TensorSpec, ...]
    lengths: tuple[int, ...] = (5, 11)
    vocabulary: int = 25
    formats: tuple[str, ...] = FORMATS
    is_training: bool = False
    free_batch: bool = True
    is_traced: bool = False
    is_frozen: bool = False

    @property
    def name(self) -> str:
        """The class's name."""
        return getattr(self.build, "__name__", "")

    @property
    def covers(self) -> str:
        """What is in it, in a few words."""
        return (self.build.__doc__ or "").splitlines()[0].rstrip(".")


def spec(name: str, *sizes: int | None, dtype: DType = DType.FP32) -> TensorSpec:
    """Return an input with a free batch."""
    return TensorSpec(name, dtype, (None, *sizes))


def make(case: Case) -> torch.nn.Module:
    """Return the model with drawn weights, normalization statistics included."""
    torch.manual_seed(SEED)
    model = case.build()
    with torch.no_grad():
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.normal_(0.0, 0.5)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
    return model.train(case.is_training)


def draw(case: Case, batch: int, length: int) -> dict[str, Array]:
    """Return drawn rows; ids are of the vocabulary, a mask leaves the first place of every row."""
    random = np.random.default_rng([batch, length, SEED])
    rows: dict[str, Array] = {}
    for item in case.inputs:
        sizes = [batch, *(length if size is None else size for size in item.shape[1:])]
        if item.dtype is DType.BOOL:
            drawn = random.random(sizes) < 0.3
            drawn[:, 0] = False
        elif item.dtype.is_integer:
            drawn = random.integers(0, case.vocabulary, sizes)
        else:
            drawn = random.normal(size=sizes)
        rows[item.name] = np.asarray(drawn, dtype=item.dtype.numpy)
    return rows


def save(case: Case, model: torch.nn.Module, file_format: str, folder: Path) -> Path:
    """Write the model in one format, as a user would."""
    rows = {name: torch.from_numpy(tensor) for name, tensor in draw(case, 3, case.lengths[0]).items()}
    if file_format == PROGRAM:
        free: dict[str, Any] = {
            item.name: {axis: torch.export.Dim.AUTO for axis, size in enumerate(item.shape) if size is None and (axis or case.free_batch)}
            for item in case.inputs
        }
        torch.export.save(torch.export.export(model, (), rows, dynamic_shapes=free), path := folder / "model.pt2")
        return path
    if file_format == SCRIPT:
        scripted = torch.jit.trace(model, tuple(rows.values())) if case.is_traced else torch.jit.script(model)
        torch.jit.save(scripted, path := folder / "model.pt")
        return path
    if file_format == STATE:
        torch.save(model.state_dict(), path := folder / "model.pth")
        return path
    from safetensors.torch import save_model

    save_model(model, path := folder / "model.safetensors")
    return path
