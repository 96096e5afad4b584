"""Models of dense layers, embeddings and tables: small, of plain PyTorch, with drawn weights."""

# ruff: noqa: D102 - forward is what every module of torch has
from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Dense layers, batch normalization, dropout, softmax at the end."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.layers(x), dim=-1)


class BinaryScore(nn.Module):
    """One score per row by a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(5, 12), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.score(torch.tanh(self.hidden(x))))


class NormalizedMixer(nn.Module):
    """Layer normalization, GELU, a residual sum, weights shared by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow, self.again = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(32, 8)
        self.again.weight = self.narrow.weight

    def forward(self, x: Tensor) -> Tensor:
        wide = nn.functional.gelu(self.wide(self.norm(x)))
        return x + self.narrow(wide) + nn.functional.silu(self.again(wide))


class TextClassifier(nn.Module):
    """A bag of embeddings over ids of any number, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 12, mode="mean"), nn.Linear(12, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.softmax(self.head(self.bag(ids)), dim=1)


class TwoInputs(nn.Module):
    """A table and a picture together."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.picture, self.head = nn.Linear(5, 8), nn.Conv2d(1, 4, 3, padding=1), nn.Linear(12, 2)

    def forward(self, table: Tensor, picture: Tensor) -> Tensor:
        seen = torch.relu(self.picture(picture)).mean(dim=(2, 3))
        return self.head(torch.cat([torch.relu(self.table(table)), seen], dim=1))


class TwoOutputs(nn.Module):
    """A dict of two outputs: probabilities and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes, self.value = nn.Linear(4, 10), nn.Linear(10, 3), nn.Linear(10, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        body = torch.relu(self.body(x))
        return {"probabilities": torch.softmax(self.classes(body), dim=-1), "value": self.value(body)}


class Spectrum(nn.Module):
    """Eigenvalues of a matrix made of the row: ONNX has no operator for them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head = nn.Linear(4, 16), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        square = self.wide(x).reshape(-1, 4, 4)
        return self.head(torch.linalg.eigvalsh(square @ square.transpose(1, 2)))


class Newton(nn.Module):
    """A loop whose number of turns depends on the data of each row alone: rows that are done stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        wanted = torch.abs(self.scale(x)) + 0.5
        root = wanted.clone()
        while bool((torch.abs(root * root - wanted) > 1e-4).any()):
            better = 0.5 * (root + wanted / root)
            root = torch.where(torch.abs(root * root - wanted) > 1e-4, better, root)
        return root
