"""Two convolutions over time: frames of 25 samples, every 10 samples; then attention over the frames of the clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE_HZ = 8000


class Frames(nn.Module):
    """(batch, time) samples → (batch, time, channel)."""

    sample_rate = SAMPLE_RATE_HZ

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 10, stride=5)
        self.second = nn.Conv1d(width, width, 4, stride=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = self.second(functional.gelu(self.first(waveform[:, None])))
        normed: Tensor = self.norm(frames.transpose(1, 2))
        return normed


class Mixing(nn.Module):
    """(batch, time, channel) and a mask of the frames → (batch, time, channel)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        mixed: Tensor = self.out(functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, :]))
        return x + mixed


class AudioNetwork(nn.Module):
    """(batch, time) samples → (batch, time, channel)."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.frames = Frames(width)
        self.block = Mixing(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, waveform: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(waveform, dtype=torch.long) if attention_mask is None else attention_mask
        frames = self.frames(waveform)
        valid = (mask.sum(1) - 25) // 10 + 1
        is_valid = torch.arange(frames.shape[1], device=frames.device)[None] < valid[:, None]
        normed: Tensor = self.norm(self.block(frames, is_valid))
        return normed
