"""A vision transformer of two blocks: 32 × 32 pixels, 16 patches and a class token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Patches(nn.Module):
    """(batch, 3, height, width) → (batch, channel, height / 8, width / 8)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.project(images)
        return patches


class Block(nn.Module):
    """(batch, token, channel): attention, then two linear layers, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.out(functional.scaled_dot_product_attention(query, key, value))
        mixed: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return mixed


class VisionNetwork(nn.Module):
    """(batch, 3, 32, 32) → (batch, 5)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = Patches(width)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        if x.shape[1] == self.positions.shape[1]:
            x = x + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        scores: Tensor = self.head(x[:, 0])
        return scores
