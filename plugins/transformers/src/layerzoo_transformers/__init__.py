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
from layerzoo_transformers.embedding import (
    NAME,
    ReturnedEmbedding,
    attach,
    has_library_embedding,
    library_embedding,
    library_method,
    method_modules,
    projections,
)
from layerzoo_transformers.families import family
from layerzoo_transformers.frames import leave_out_padding
from layerzoo_transformers.identify import described, identify
from layerzoo_transformers.images import image_processor
from layerzoo_transformers.memory import without_memory
from layerzoo_transformers.parts import backbone_path, is_encoder_of_pair, network_class
from layerzoo_transformers.plainly import told_plainly
from layerzoo_transformers.prompts import prompts
from layerzoo_transformers.sentence_transformers import LIBRARY, sentence_encoder, without_modules
from layerzoo_transformers.sizes import sized_config_of
from layerzoo_transformers.text import LibraryTokenizer, NoTokenizer, tokenizer
from layerzoo_transformers.ties import untie_on_load


@hookimpl
def layerzoo_build(spec: ModelSpec, files: Files) -> nn.Module:
    files = _meant_files(spec, files)
    with told_plainly(spec.id):
        network = _whole(spec, files)
    part = _part(spec, network)
    backbone: nn.Module = library_method(network, spec.modality) or leave_out_padding(network.get_submodule(part))
    if (made := _embedding(spec, files, network, part)) is not None:
        attach(backbone, made)
    untie_on_load(backbone)
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
    files = _meant_files(spec, files)
    config = config_of(spec, files)
    with told_plainly(spec.id):
        known = described(config, files, spec.modality, sentence_encoder(spec.id, files))
    has_embedding = known.get("default", {}).get("layer") == NAME
    return {**known, "chain": _chain(config, spec.modality) | ({"embedding": NAME} if has_embedding else {})}


def _chain(config: Any, modality: str) -> dict[str, Any]:
    """What families.toml says of the chain; a number that depends on the configuration stands there by its field.

    Of what a block returns beside its activation (caches, residuals), nothing is a branch in this library.
    """
    count = getattr(sub_config(config, modality), "num_hidden_layers", None)
    known = {"count": count} if isinstance(count, int) else {}
    chain: dict[str, Any] = {"branches": False, "single": count == 1} | known | family(config)["chain"]
    field = chain.get("suffix_tokens")
    return chain if field is None else {**chain, "suffix_tokens": getattr(config, field)}


@hookimpl
def layerzoo_preprocess(spec: ModelSpec, files: Files) -> Callable[..., Any] | LibraryTokenizer | NoTokenizer | None:
    """The library's own tokenizer, feature extractor, image processor or video processor."""
    files = _meant_files(spec, files)
    with told_plainly(spec.id):
        if spec.modality == "text":
            made = tokenizer(spec.id, config_of(spec, files), files, spec.args.get("part"))
            if isinstance(made, LibraryTokenizer):
                made.prompts = prompts(spec.id, files, made.library)
            return made
        if spec.modality == "audio":
            return audio_features(spec.id, config_of(spec, files), files, spec.args.get("part"))
        return image_processor(spec, config_of(spec, files), files)


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The base network's part of a checkpoint, as transformers names it; of that, what belongs to the backbone. And the
    tensors of the modules that sentence-transformers runs after it."""
    files = _meant_files(spec, files)
    encoder = sentence_encoder(spec.id, files)
    of_modules = {name: tensor for name, tensor in tensors.items() if "/" in name}
    own = {name: tensor for name, tensor in tensors.items() if name not in of_modules}
    with told_plainly(spec.id):
        found = mapped(sized_config_of(spec, files), own, partial(_parts, spec, files)) or own
    begins = encoder.tensor_names() if encoder else {}
    return {
        **found,
        **{
            ours + name.removeprefix(theirs): tensor
            for theirs, ours in begins.items()
            for name, tensor in of_modules.items()
            if name.startswith(theirs)
        },
    }


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


def _meant_files(spec: ModelSpec, files: Files) -> Files:
    """The files of a model, without those of sentence-transformers where its `args` say ``modules: false``."""
    return files if spec.args.get("modules", True) else without_modules(files)


def _embedding(spec: ModelSpec, files: Files, network: Any, part: str) -> nn.Module | None:
    """What computes the layer `embedding` from what the backbone returns; None for a model that has none."""
    library: nn.Module | None = None
    if method_modules(network, spec.modality):
        library = ReturnedEmbedding()
    elif part in network._modules and has_library_embedding(network.config, spec.modality):
        library = library_embedding(network, spec.modality)
    encoder = sentence_encoder(spec.id, files)
    if encoder is None or spec.modality not in encoder.modalities:
        return library
    if spec.modality == "text":
        encoder.check_network(network.config, is_encoder=is_encoder_of_pair(network, part))
    return encoder.embedding(spec.modality, library)


def _parts(spec: ModelSpec, files: Files, network: Any) -> dict[str, str]:
    """The path of the backbone, and of what the embedding adds to it, each with its path there."""
    if whole := method_modules(network, spec.modality):
        return whole
    part = _part(spec, network)
    if not (part in network._modules and has_library_embedding(network.config, spec.modality)):
        return {part: ""}
    encoder = sentence_encoder(spec.id, files)
    inside = LIBRARY if encoder and spec.modality in encoder.modalities else ""
    return {part: "", **projections(network, spec.modality, inside=inside)}


def _part(spec: ModelSpec, network: nn.Module) -> str:
    given: str | None = spec.args.get("part")
    return backbone_path(network, spec.modality) if given is None else given
