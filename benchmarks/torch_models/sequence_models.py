"""Models of sequences: recurrent layers and attention, small, of plain PyTorch, with drawn weights."""

# ruff: noqa: D102 - forward is what every module of torch has
from __future__ import annotations

import torch
from torch import Tensor, nn


class Lstm(nn.Module):
    """Two LSTM layers, both ways, over a sequence of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(5, 7, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.cells(x)
        return torch.softmax(self.head(found[:, -1]), dim=-1)


class Gru(nn.Module):
    """A GRU over embedded ids of any number; an answer for each place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cells, self.head = nn.Embedding(30, 6), nn.GRU(6, 9, batch_first=True), nn.Linear(9, 4)

    def forward(self, ids: Tensor) -> Tensor:
        found, _ = self.cells(self.embedding(ids))
        return self.head(found)


class Transformer(nn.Module):
    """A transformer encoder with learned positions; batch and length are free."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True, activation="gelu", norm_first=True)
        self.embedding, self.places = nn.Embedding(40, 16), nn.Parameter(torch.zeros(1, 64, 16))
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.encoder(self.embedding(ids) + self.places[:, : ids.shape[1]])
        return torch.softmax(self.head(found.mean(dim=1)), dim=-1)


class MaskedAttention(nn.Module):
    """Attention of our own with a mask of places that do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 8**0.5
        shares = torch.softmax(scores.masked_fill(mask.unsqueeze(1), -1e9), dim=-1)
        return self.head((shares @ self.value(x)).mean(dim=1))
