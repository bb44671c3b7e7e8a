"""A program that uses layerzoo. A type checker checks it, with ``assert_type``; it is not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import layerzoo
from layerzoo import Audio, Backbone, Features, FeatureWriter, Layer, LayerzooError, ModelSpec, hookimpl
from layerzoo.errors import SampleError, UnknownModelError
from layerzoo.layers import select
from layerzoo.registry import PluginManifest, Registry, registry
from layerzoo.spec import MODALITIES, ImagePreprocess, Modality
from layerzoo.weights import Files


def look_up(id: str) -> ModelSpec | None:
    try:
        spec = layerzoo.model(id)
    except UnknownModelError as error:
        assert_type(error.nearest, tuple[str, ...])
        assert_type(error.asked, str)
        return None
    assert_type(spec, ModelSpec)
    assert_type(spec.layers, tuple[Layer, ...])
    assert_type(spec.modality, Modality)
    assert_type(select(spec.layers, "block.*", model=spec.id), list[Layer])
    if isinstance(spec.preprocess, ImagePreprocess):
        assert_type(spec.preprocess.size_px, tuple[int, int])
    return spec


def browse() -> list[str]:
    assert_type(layerzoo.models(modality=MODALITIES[0], max_params=30_000_000), list[ModelSpec])
    assert_type(layerzoo.models("vit*tiny*", task="image-classification"), list[ModelSpec])
    zoo = registry()
    assert_type(zoo, Registry)
    assert_type(zoo.plugins(), list[PluginManifest])
    return zoo.ids(modality="audio")


def extract(folder: Path) -> NDArray[Any]:
    features = layerzoo.extract("starter/minilm-l6", folder, layer=["block.0", "block.-1"], pool={"block.-1": "cls"})
    assert_type(features, Features)
    assert_type(features.ids, tuple[str, ...])
    assert_type(features.provenance, Mapping[str, Any])
    assert_type(features.errors, tuple[SampleError, ...])
    with FeatureWriter("features.parquet") as writer:
        assert_type(writer, FeatureWriter)
        for piece in layerzoo.stream("starter/minilm-l6", ["a fine film", "a waste of time"], errors="skip"):
            assert_type(piece, Features)
            writer.write(piece)
    return Features.load("features.parquet").values


def train(clips: Iterator[Audio]) -> torch.Tensor:
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="block.2", weights="random:0", precision="bfloat16")
    assert_type(backbone, Backbone)
    assert_type(backbone.spec, ModelSpec)
    batch = backbone.preprocess(list(clips))
    assert_type(batch, layerzoo.Batch)
    assert_type(backbone.activations(batch), dict[str, torch.Tensor])
    assert_type(layerzoo.build("starter/whisper-tiny-en"), torch.nn.Module)
    return backbone.module.read(batch, lambda layer, activation: activation.mean())["block.2"]


def embed(texts: list[str]) -> list[list[float]]:
    embedder = layerzoo.Embedder("starter/minilm-l6", layer="block.-1", normalize=True)
    assert_type(embedder.encode(texts), NDArray[np.float32])
    assert_type(embedder.embed_query("a query"), list[float])
    assert_type(embedder(texts), list[NDArray[np.float32]])
    return embedder.embed_documents(texts)


def exit_code(error: LayerzooError) -> int:
    return assert_type(error.exit_code, int)


@hookimpl
def layerzoo_build(spec: ModelSpec, files: Files) -> torch.nn.Module:
    assert_type(files.checkpoint, Path | None)
    return torch.nn.Linear(spec.args["width"], 1)
