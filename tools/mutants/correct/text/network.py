"""A text encoder of two blocks with a masked mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """(batch, token, channel) and a mask of the tokens → (batch, token, channel)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(x)).chunk(3, dim=-1)
        allowed = mask.bool()[:, None, :]
        mixed: Tensor = self.out(functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed))
        return x + mixed


class MaskedMean(nn.Module):
    """(batch, token, channel) and a mask → (batch, channel), the mean over the tokens of the text."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = mask[:, :, None].to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1)


class TextNetwork(nn.Module):
    """(batch, token) ids → (batch, channel)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.words = nn.Embedding(63, width)
        self.positions = nn.Embedding(64, width)
        self.blocks = nn.ModuleList(Attention(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.pool = MaskedMean()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        x = self.words(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        vector: Tensor = self.pool(x, mask)
        return vector
