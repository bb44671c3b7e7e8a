"""Measure how many bytes of a checkpoint a cut downloads: ``python -m benchmarks.downloads``.

A hub on the loopback serves ViT-S/16 with random weights. The network is cut at block.5, cut deeper, and loaded whole.
The bytes that the server sends are counted. Exits with 1 if they exceed the bytes that the layers need by over 2 %.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.measure import own_folder
from rich.console import Console
from rich.table import Table
from tests.hub import Hub

_NETWORK = "vit_small_patch16_224"
_CUTS = (("block.5", True), ("block.8", True), ("norm", False))
_MAX_EXCESS = 0.02


def main() -> None:
    with own_folder() as folder, Hub() as hub:
        os.environ |= hub.environment(folder / "hub")
        size = _publish(hub)
        rows = [_cut(hub, layer, is_partial, size) for layer, is_partial in _CUTS]
    table = Table("cut at", "needed", "of the file", "downloaded in total", "in excess", "requests", box=None)
    for row in rows:
        table.add_row(*row[:-1])
    Console(highlight=False, width=140).print(table)
    sys.exit(1 if any(row[-1] == "missed" for row in rows) else 0)


def _publish(hub: Hub) -> int:
    """Commit the checkpoint to the hub and declare its model. Returns: its size in bytes."""
    import timm
    from safetensors.torch import save

    data = save(timm.create_model(_NETWORK).state_dict())
    revision = hub.repository("acme/vit").commit({"model.safetensors": data})
    source = f"hf://acme/vit@{revision}/model.safetensors"
    model = {"modality": "vision", "builder": "timm", "args": {"name": _NETWORK}, "weights": source}
    Path("registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/vit": model}}), encoding="utf-8")
    return len(data)


def _cut(hub: Hub, layer: str, is_partial: bool, size: int) -> tuple[str, ...]:
    import layerzoo

    requests = len(hub.requests)
    needed = layerzoo.load("mine/vit", layer=layer, partial=is_partial).provenance["loaded"]["bytes"]
    needed = needed if is_partial else size
    sent = hub.bytes_sent("*.safetensors")
    excess = sent / needed - 1
    facts = (f"{needed:,}", f"{needed / size:.1%}", f"{sent:,}", f"{excess:+.3%}", str(len(hub.requests) - requests))
    return (layer if is_partial else "whole network", *facts, "missed" if excess > _MAX_EXCESS else "ok")


if __name__ == "__main__":
    main()
