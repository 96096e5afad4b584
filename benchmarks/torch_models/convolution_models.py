"""Models of convolutions: small, of plain PyTorch, with drawn weights."""

# ruff: noqa: D102 - forward is what every module of torch has
from __future__ import annotations

import torch
from torch import Tensor, nn


class Cnn(nn.Module):
    """Convolution, batch normalization, pooling, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU()
        )
        self.head = nn.Linear(12 * 4 * 4, 10)

    def forward(self, image: Tensor) -> Tensor:
        return torch.log_softmax(self.head(self.body(image).flatten(1)), dim=1)


class Block(nn.Module):
    """Two convolutions around a short cut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.second, self.second_norm = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(inner + self.short(x))


class ResNetLike(nn.Module):
    """Residual blocks, global average pooling; height and width are free."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3, 1, 1), nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(image))).flatten(1))


class Inverted(nn.Module):
    """Widen, filter each channel alone, narrow."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = before * 4
        self.is_short = stride == 1 and before == after
        self.body = nn.Sequential(
            nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_short else self.body(x)


class MobileNetLike(nn.Module):
    """Depthwise convolutions with inverted residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), Inverted(8, 8, 1), Inverted(8, 12, 2), Inverted(12, 12, 1))
        self.head = nn.Linear(12, 7)

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.head(self.body(image).mean(dim=(2, 3))), dim=1)


class UNetLike(nn.Module):
    """Down, up by interpolation, joined with what was there before; a mask per picture."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.up, self.out = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(18, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = torch.relu(self.down(image))
        deep = torch.relu(self.deep(nn.functional.max_pool2d(first, 2)))
        return torch.sigmoid(self.out(torch.cat([first, self.up(deep)], dim=1)))


class Signal(nn.Module):
    """1-D convolutions with dilation over a signal of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=2, dilation=2)
        self.head = nn.Linear(8, 2)

    def forward(self, signal: Tensor) -> Tensor:
        return self.head(nn.functional.elu(self.second(nn.functional.elu(self.first(signal)))).mean(dim=2))


class Decoder(nn.Module):
    """Transposed convolutions from a vector to a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = nn.Linear(6, 8 * 4 * 4)
        self.body = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.BatchNorm2d(6), nn.LeakyReLU(0.2), nn.ConvTranspose2d(6, 1, 3, 2, 1, output_padding=1)
        )

    def forward(self, code: Tensor) -> Tensor:
        return torch.tanh(self.body(self.seed(code).reshape(-1, 8, 4, 4)))
