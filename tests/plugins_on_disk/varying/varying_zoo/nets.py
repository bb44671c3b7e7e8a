"""Networks whose features are random or depend on the batch, and a text network with special tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerzoo.authoring import TextArguments


class BatchMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0) / 2


class LargeBatchMean(nn.Module):
    """Mixes the rows of batches of more than six."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0) / 2 if len(x) > 6 else x


class BatchExtreme(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.abs().max()


class BatchSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((1, 2, 3), keepdim=True).softmax(0)


class Ranked(nn.Module):
    """Rows in the order of their sums: each comes out in another place."""

    def __init__(self, descending: bool) -> None:
        super().__init__()
        self.descending = descending

    def forward(self, x: Tensor) -> Tensor:
        return x[x.sum((1, 2, 3)).argsort(descending=self.descending)]


class SortedValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(0).values


class Neighbours(nn.Module):
    """Each row sees another one: the next, or one further on. The last see none."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x + F.pad(x[self.step :], (0, 0, 0, 0, 0, 0, 0, min(self.step, len(x)))) / 2


class Numbered(nn.Module):
    """Each row sees its place in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x), device=x.device)[:, None, None, None]


class Smallest(nn.Module):
    """Only the row with the smallest extreme changes."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.abs().amax((1, 2, 3), keepdim=True)
        return torch.where(size <= size.min(), x / size.max(), x)


class Quantised(nn.Module):
    """Activations are rounded to as many steps as 8 bits have, of a range that the batch gives."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.abs().max() / 127
        return (x / step).round() * step


class PrivateNoise(nn.Module):
    """Random numbers of a generator that no seed reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=self.generator).to(x.device)


class PrivateNumpyNoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(5)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(self.generator.normal(size=tuple(x.shape)).astype(np.float32)).to(x.device)


class Dropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.random.normal(size=tuple(x.shape)).astype(np.float32)).to(x.device)


class Skips(nn.Module):
    """Random depth, without asking whether it is being trained."""

    def forward(self, x: Tensor) -> Tensor:
        return x if torch.rand(1) < 0.5 else 2 * x


class Unused(nn.Module):
    """Draws a random number that changes nothing, as wav2vec2 does."""

    def forward(self, x: Tensor) -> Tensor:
        skip = torch.rand([])
        return x if not self.training or skip < 0.5 else 2 * x


class Masking(nn.Module):
    """Shuffles the pixels and keeps half, as a masked auto-encoder does."""

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape[0], x.shape[2] * x.shape[3], device=x.device).argsort(1)[:, ::2]
        return x.flatten(2).gather(2, kept[:, None].expand(-1, x.shape[1], -1)).unflatten(2, (x.shape[2], -1))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": nn.Identity,
    "batch norm": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "running batch norm": lambda: nn.BatchNorm2d(4),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "batch mean": BatchMean,
    "mean of a large batch": LargeBatchMean,
    "batch extreme": BatchExtreme,
    "batch softmax": BatchSoftmax,
    "ranked": lambda: Ranked(False),
    "ranked downwards": lambda: Ranked(True),
    "sorted values": SortedValues,
    "next row": lambda: Neighbours(1),
    "row after next": lambda: Neighbours(2),
    "numbered": Numbered,
    "smallest": Smallest,
    "quantised": Quantised,
    "dropout": Dropout,
    "private noise": PrivateNoise,
    "private numpy noise": PrivateNumpyNoise,
    "noise": Noise,
    "skips": Skips,
    "unused": Unused,
    "masking": Masking,
}


class Image(nn.Module):
    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        stride = int(os.environ.get("VARYING_STRIDE", "2"))
        self.first = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
        self.odd = KINDS[kind]()
        self.wide = nn.Linear(width, width) if width else nn.Identity()  # past the cut: large without being slow
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        second: Tensor = self.second(self.odd(self.first(x)))
        if isinstance(self.wide, nn.Linear):
            self.wide(second.new_zeros(1, self.wide.in_features))
        return second


class Tokenizer:
    arguments = TextArguments(ids="tokens", mask="is_text")
    prefix, suffix, pad, unknown = (1, 2), (3,), 0, None

    def encode(self, text: str) -> list[int]:
        return [4 + ord(letter) % 60 for letter in text if letter != " "]


class Words(nn.Module):
    """Each token sees the mean of the valid ones. ``added`` learned tokens may stand before and after a row."""

    def __init__(self, added: tuple[int, int]) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 6)
        self.front, self.back = (nn.Parameter(torch.zeros(1, count, 6)) for count in added)
        nn.init.normal_(self.front)
        nn.init.normal_(self.back)
        self.mixed = nn.Identity()

    def forward(self, tokens: Tensor, is_text: Tensor | None = None) -> Tensor:
        x = self.embed(tokens)
        mask = torch.ones_like(tokens) if is_text is None else is_text
        mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        x = x + mean
        x = torch.cat([self.front.expand(len(x), -1, -1), x, self.back.expand(len(x), -1, -1)], 1)
        mixed: Tensor = self.mixed(x)
        return mixed


class Patches(nn.Module):
    """Tokens of patches, between some of its own. Those in the middle are put in later, as registers are."""

    def __init__(self, prefix: int, suffix: int = 0, registers: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.front = nn.Parameter(torch.randn(1, prefix, 6))
        self.back = nn.Parameter(torch.randn(1, suffix, 6))
        self.registers = nn.Parameter(torch.randn(1, registers, 6))
        self.tokens = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv(x).flatten(2).transpose(1, 2)
        front, back, registers = (kept.expand(len(x), -1, -1) for kept in (self.front, self.back, self.registers))
        joined = torch.cat([front, patches, back], 1)
        if registers.shape[1]:
            joined = torch.cat([joined[:, : front.shape[1]], registers, joined[:, front.shape[1] :]], 1)
        tokens: Tensor = self.tokens(joined)
        return tokens


class Frames(nn.Module):
    """One frame of 10 samples, every 5."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 2, 10, stride=5)
        self.pooled = nn.Linear(2, 2)

    def forward(self, sound: Tensor) -> Tensor:
        pooled: Tensor = self.pooled(self.frames(sound[:, None]).mean(2))
        return pooled


def build(spec: Any) -> nn.Module:
    if spec.modality == "text":
        return Words(tuple(spec.args.get("added", (0, 0))))
    if spec.modality == "audio":
        return Frames()
    if spec.args["kind"] == "patches":
        return Patches(*(spec.args.get(name, 0) for name in ("prefix", "suffix", "registers")))
    return Image(spec.args["kind"], spec.args.get("width", 0))
