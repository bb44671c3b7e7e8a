"""Fine-tune the last blocks of a cut network with a head on top: ``python -m examples.fine_tune [TWEETS] [EPOCHS]``.

The network is ``Backbone.module``. Its last blocks and a linear head are trained together on the sentiment of tweets,
saved as safetensors, and loaded again.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from examples.samples import SENTIMENTS, tweets
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import layerzoo

MODEL, LAYER, BLOCKS = "starter/minilm-l6", "block.5", 2
_BATCH = 32


def trainable(backbone: layerzoo.Backbone, blocks: int) -> list[nn.Parameter]:
    """Freeze all parameters but those of the last blocks, and return these."""
    numbers = {int(found[1]) for name, _ in backbone.module.named_parameters() if (found := _block(name))}
    last = sorted(numbers)[-blocks:]
    chosen = []
    for name, parameter in backbone.module.named_parameters():
        found = _block(name)
        parameter.requires_grad_(found is not None and int(found[1]) in last)
        chosen += [parameter] if parameter.requires_grad else []
    return chosen


def _block(name: str) -> re.Match[str] | None:
    return re.search(r"\.layer\.(\d+)\.", name)


def logits(backbone: layerzoo.Backbone, head: nn.Linear, texts: list[str]) -> Tensor:
    """Return (text, class) scores: the mean over the tokens of each text, then the head."""
    batch = backbone.preprocess(texts)
    tokens = backbone.module(batch)[LAYER]
    mask = batch.inputs["attention_mask"][:, :, None].to(tokens.dtype)
    scores: Tensor = head((tokens * mask).sum(1) / mask.sum(1))
    return scores


def accuracy(backbone: layerzoo.Backbone, head: nn.Linear, texts: list[str], labels: Tensor) -> float:
    """Return the share of correct classes."""
    with torch.no_grad():
        parts = [logits(backbone, head, texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    return float((torch.cat(parts).argmax(1) == labels).float().mean())


def train(
    texts: list[str], labels: Tensor, epochs: int, *, blocks: int = BLOCKS
) -> tuple[layerzoo.Backbone, nn.Linear]:
    """Return a network and a head that were trained on texts. blocks: 0 trains the head alone."""
    torch.manual_seed(0)
    backbone = layerzoo.load(MODEL, layer=LAYER, pool="none")
    head = nn.Linear(384, len(SENTIMENTS))
    groups = [
        {"params": head.parameters(), "lr": 1e-3},
        {"params": trainable(backbone, blocks) if blocks else [], "lr": 1e-4},
    ]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(epochs):
        for rows in torch.randperm(len(texts)).split(_BATCH):
            optimizer.zero_grad()
            scores = logits(backbone, head, [texts[row] for row in rows])
            nn.functional.cross_entropy(scores, labels[rows]).backward()
            optimizer.step()
    return backbone, head


def save(folder: Path, backbone: layerzoo.Backbone, head: nn.Linear) -> None:
    """Write the network and the head as safetensors."""
    backbone.save(folder)
    save_file(head.state_dict(), folder / "head.safetensors")


def load(folder: Path) -> tuple[layerzoo.Backbone, nn.Linear]:
    """Read what :func:`save` wrote."""
    backbone = layerzoo.load(MODEL, layer=LAYER, pool="none", weights=folder / "model.safetensors")
    head = nn.Linear(384, len(SENTIMENTS))
    head.load_state_dict(load_file(folder / "head.safetensors"))
    return backbone, head


def main() -> None:
    count, epochs = (int(value) for value in (*sys.argv[1:], *("300", "3")[len(sys.argv) - 1 :]))
    texts, sentiments = tweets(per_class=count // 3)
    labels = torch.tensor([SENTIMENTS.index(sentiment) for sentiment in sentiments])
    split = len(texts) * 2 // 3
    held_out = texts[split:], labels[split:]
    print(f"most frequent class: {labels[split:].bincount().max() / len(labels[split:]):.3f}")
    for blocks in (0, BLOCKS):
        backbone, head = train(texts[:split], labels[:split], epochs, blocks=blocks)
        print(f"head and the last {blocks} blocks: accuracy {accuracy(backbone, head, *held_out):.3f}")
    folder = Path("tuned")
    save(folder, backbone, head)
    print(f"loaded again from {folder}: {accuracy(*load(folder), *held_out):.3f}")


if __name__ == "__main__":
    main()
