"""transformers' networks: `builder: transformers`.

What to build follows from the config.json among the model's files, or from `args: {model_type, config}`. What is the
backbone follows from the modality: of a network of several towers the one for it, of an encoder-decoder for text or
sound the encoder, else the whole; `part` names another submodule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from layerzoo import ModelSpec, hookimpl
from layerzoo.weights import Files
from layerzoo_transformers import catalogue
from layerzoo_transformers.audio import audio_features
from layerzoo_transformers.checkpoint import mapped
from layerzoo_transformers.configuration import config_of, sub_config, without_cache
from layerzoo_transformers.families import family
from layerzoo_transformers.frames import leave_out_padding
from layerzoo_transformers.identify import described, identify
from layerzoo_transformers.images import image_processor
from layerzoo_transformers.memory import without_memory
from layerzoo_transformers.parts import backbone_path, network_class
from layerzoo_transformers.plainly import told_plainly
from layerzoo_transformers.sizes import sized_config_of
from layerzoo_transformers.text import LibraryTokenizer, NoTokenizer, tokenizer


@hookimpl
def layerzoo_build(spec: ModelSpec, files: Files) -> nn.Module:
    with told_plainly(spec.id):
        network = _whole(spec, files)
    backbone: nn.Module = leave_out_padding(network.get_submodule(_part(spec, network)))
    return backbone if _has_values() else without_memory(backbone)


@hookimpl
def layerzoo_identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """Of a network with several towers, a model for each."""
    with told_plainly(model):
        return identify(model, files)


@hookimpl
def layerzoo_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Every base network in its default configuration."""
    return catalogue.models()


@hookimpl
def layerzoo_describe(spec: ModelSpec, files: Files) -> dict[str, Any] | None:
    config = config_of(spec, files)
    with told_plainly(spec.id):
        return {**described(config, files, spec.modality), "chain": _chain(config, spec.modality)}


def _chain(config: Any, modality: str) -> dict[str, Any]:
    """What families.toml says of the chain; a number that depends on the configuration stands there by its field.

    Of what a block returns beside its activation (caches, residuals), nothing is a branch in this library.
    """
    is_single = getattr(sub_config(config, modality), "num_hidden_layers", None) == 1
    chain: dict[str, Any] = {"branches": False, "single": is_single} | family(config)["chain"]
    field = chain.get("suffix_tokens")
    return chain if field is None else {**chain, "suffix_tokens": getattr(config, field)}


@hookimpl
def layerzoo_preprocess(spec: ModelSpec, files: Files) -> Callable[..., Any] | LibraryTokenizer | NoTokenizer | None:
    """The library's own tokenizer, feature extractor, image processor or video processor."""
    with told_plainly(spec.id):
        if spec.modality == "text":
            return tokenizer(spec.id, config_of(spec, files), files, spec.args.get("part"))
        if spec.modality == "audio":
            return audio_features(spec.id, config_of(spec, files), files, spec.args.get("part"))
        return image_processor(spec, config_of(spec, files), files)


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The base network's part of a checkpoint, as transformers names it; of that, what belongs to the backbone."""
    with told_plainly(spec.id):
        return mapped(sized_config_of(spec, files), tensors, partial(_part, spec)) or tensors


def _whole(spec: ModelSpec, files: Files) -> Any:
    """The base network in float32, whatever its checkpoint is kept in.

    Where there are no values, as on the meta device, experts run all at once: which of them a token takes is a value.
    """
    how = {} if _has_values() else {"experts_implementation": "batched_mm"}
    config = without_cache(sized_config_of(spec, files))
    config.architectures = [network_class(config).__name__]  # of a type with several base networks, the first
    return AutoModel.from_config(config, dtype=torch.float32, **how)


def _has_values() -> bool:
    """Whether tensors that are made here and now hold numbers."""
    probe = torch.empty(0)
    return type(probe) is Tensor and not probe.is_meta


def _part(spec: ModelSpec, network: nn.Module) -> str:
    given: str | None = spec.args.get("part")
    return backbone_path(network, spec.modality) if given is None else given
