"""A plugin with a large synthetic catalogue, generated with a fixed seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMESPACE = "crowd"
_SEED = 20
_LAYERED_SHARE, _BASED_SHARE = 0.3, 0.1
_DEPTH = 10  # blocks; with the stem and the norm they are 12 layers

_FAMILIES = ("resnet", "vit", "convnext", "swin", "bert", "wav2vec", "hubert", "mobilenet", "efficientnet", "llama")
_SIZES = {"pico": 3e6, "tiny": 6e6, "small": 22e6, "base": 86e6, "large": 300e6, "huge": 630e6}
_SUBJECTS = (
    *("birds", "leaves", "supermarket shelves", "x-rays", "street signs", "whale song", "tweets", "court rulings"),
    *("radio plays", "satellite images", "handwriting", "recipes", "patents", "engine noise", "tree bark"),
)
_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", None)
_MODALITIES = ("vision", "text", "audio")
_PREPROCESS = {
    "vision": {"size_px": 224, "resize": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "text": {"max_tokens": 128},
    "audio": {"sample_rate_hz": 16_000},
}


def write_plugin(site: Path, models: int) -> None:
    """Install a plugin into a folder, as pip does. models: how many it declares."""
    package, metadata = site / f"{NAMESPACE}_zoo", site / f"{NAMESPACE}_zoo-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAMESPACE}-zoo\nVersion: 1.0\n", "utf-8")
    (metadata / "entry_points.txt").write_text(f"[layerzoo]\n{NAMESPACE} = {NAMESPACE}_zoo\n", "utf-8")
    (package / "__init__.py").touch()
    head = f"layerzoo: 1\nbuilders: [{NAMESPACE}]\ncatalogue: models.jsonl\n"
    (package / "registry.yaml").write_text(head, "utf-8")
    with (package / "models.jsonl").open("w", encoding="utf-8") as catalogue:
        catalogue.writelines(f"{json.dumps(model)}\n" for model in declarations(models))


def declarations(number: int) -> Iterator[dict[str, Any]]:
    """Generate the declarations of a number of models, the same in every run."""
    draw = random.Random(_SEED)
    latest: dict[str, str] = {}  # by modality: the model that the next one may inherit from
    for index in range(number):
        model = _declaration(draw, index)
        base = latest.get(model["modality"])
        if base and draw.random() < _BASED_SHARE:
            model = {key: model[key] for key in ("id", "modality", "summary")} | {"base": base}
        else:
            latest[model["modality"]] = model["id"]
        yield model


def _declaration(draw: random.Random, index: int) -> dict[str, Any]:
    family, subject = draw.choice(_FAMILIES), draw.choice(_SUBJECTS)
    size = draw.choice(list(_SIZES))
    modality = draw.choice(_MODALITIES)
    model: dict[str, Any] = {
        "id": f"{family}_{size}.{subject.replace(' ', '-')}-{index}",
        "modality": modality,
        "summary": f"{family.title()} {size}, trained on {subject} by group {draw.randrange(2000)}",
        "builder": NAMESPACE,
        "args": {"name": f"{family}_{size}"},
        "params": int(_SIZES[size] * draw.uniform(0.8, 1.2)),
        "preprocess": _PREPROCESS[modality],
    }
    if (license_ := draw.choice(_LICENSES)) is not None:
        model["license"] = license_
    if draw.random() < _LAYERED_SHARE:
        blocks = {f"block.{block}": _layer(f"blocks.{block}", block + 1) for block in range(_DEPTH)}
        model["layers"] = {"stem": _layer("stem", 0), **blocks, "norm": _layer("norm", _DEPTH)}
        model["default"] = {"layer": "norm", "pool": "mean"}
    return model


def _layer(module: str, depth: int) -> dict[str, Any]:
    return {"module": module, "axes": "batch token channel", "shape": [197, 192], "prefix_tokens": 1,
            "depth": depth / _DEPTH, "params": 40_000 * depth, "flops": 90_000_000 * depth}  # fmt: skip
