"""transformers' networks: `builder: transformers`.

The config.json among the model's files, or `args: {model_type, config}`, selects the network. The modality selects the
backbone: the tower for it in a network with several towers, the encoder in an encoder-decoder for text or audio, and
otherwise the whole network. `part` selects another submodule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerzoo import ModelSpec, hookimpl
from layerzoo.authoring import Chain
from layerzoo.errors import RepositoryError
from layerzoo.weights import Files
from layerzoo_hf import catalogue
from layerzoo_hf.audio import audio_features
from layerzoo_hf.checkpoint import keep_in_float32, mapped
from layerzoo_hf.configuration import config_of, sub_config, without_cache
from layerzoo_hf.embedding import (
    NAME,
    ReturnedEmbedding,
    attach,
    has_library_embedding,
    library_embedding,
    library_method,
    method_modules,
    projections,
)
from layerzoo_hf.families import family
from layerzoo_hf.frames import leave_out_padding
from layerzoo_hf.grids import CHAIN, GRID, with_batch_axis
from layerzoo_hf.identify import described, identify
from layerzoo_hf.images import image_processor
from layerzoo_hf.library_errors import translated_errors, without_hub_kernels
from layerzoo_hf.modules import MODULES, network_folder
from layerzoo_hf.parts import backbone_path, backbone_without_values, forward_arguments, is_encoder_of_pair, new_network
from layerzoo_hf.prompts import prompts
from layerzoo_hf.references import check_files
from layerzoo_hf.sentence_transformers import LIBRARY, SentenceEncoder, opened
from layerzoo_hf.sizes import sized_config_of
from layerzoo_hf.static_embedding import (
    StaticTokenizer,
    described_static,
    static_dtype,
    static_network,
    static_tensors,
)
from layerzoo_hf.tensor_caches import without_tensor_caches
from layerzoo_hf.text import LibraryTokenizer, NoTokenizer, tokenizer
from layerzoo_hf.ties import untie_on_load


@hookimpl
def layerzoo_build(spec: ModelSpec, files: Files) -> nn.Module:
    files, encoder = opened(spec.id, files, spec.args)
    if encoder is not None and encoder.is_static:
        return attach(static_network(encoder, files), encoder.embedding(spec.modality, None))
    with translated_errors(spec.id):
        network = _base_network(spec, files)
        part = _part(spec, encoder, network)
        backbone: nn.Module = library_method(network, spec.modality) or _prepared(network.get_submodule(part))
        if (embedding := _embedding(spec, encoder, network, part)) is not None:
            attach(backbone, embedding)
        untie_on_load(backbone)
    return backbone if _has_values() else without_tensor_caches(backbone)


@hookimpl
def layerzoo_identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """Return the models of a repository: one for each tower of a network with several."""
    check_files(model, files)
    with translated_errors(model):
        return identify(model, files)


@hookimpl
def layerzoo_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return every base network in its default configuration."""
    return catalogue.models()


@hookimpl
def layerzoo_describe(spec: ModelSpec, files: Files) -> dict[str, Any] | None:
    files, encoder = opened(spec.id, files, spec.args)
    if encoder is not None and encoder.is_static:
        if spec.modality != "text":
            raise RepositoryError(f"{spec.id}: a StaticEmbedding takes text, and {spec.modality} is declared")
        return {**described_static(encoder, files), "chain": Chain(embedding=NAME)}
    with translated_errors(spec.id):
        config = config_of(spec, files)
        description = described(config, files, spec.modality, encoder)
    has_embedding = description.get("default", {}).get("layer") == NAME
    fields = _chain(config, spec.modality) | ({"embedding": NAME} if has_embedding else {})
    if spec.modality == "text" and encoder is not None and encoder.pools_decoder(config):
        fields["within"] = _encoder_within(spec, encoder, config)
    return {**description, "chain": Chain(**fields)}


def _encoder_within(spec: ModelSpec, encoder: SentenceEncoder, config: Any) -> str:
    """Return the path of the encoder in a backbone that is a whole encoder-decoder: its blocks are the named layers."""
    network = backbone_without_values(config, "text", "")
    backbone = _part(spec, encoder, network)
    return backbone_path(network, "text").removeprefix(f"{backbone}." if backbone else "")


def _chain(config: Any, modality: str) -> dict[str, Any]:
    """Return the fields of the :class:`Chain` of a network, from families.toml and the configuration.

    families.toml names a field of the configuration instead of a number that depends on it. The other outputs of a
    block (caches, residuals) are not branches in this library.
    """
    count = getattr(sub_config(config, modality), "num_hidden_layers", None)
    block_count = {"count": count} if isinstance(count, int) else {}
    grid = CHAIN if modality == "vision" and GRID in forward_arguments(config, "vision") else {}
    chain: dict[str, Any] = {"branches": False, "single": count == 1} | block_count | grid | family(config)["chain"]
    field = chain.get("suffix_tokens")
    return chain if field is None else {**chain, "suffix_tokens": getattr(config, field)}


@hookimpl
def layerzoo_dtype(spec: ModelSpec, files: Files) -> str | None:
    """Return the dtype of ``from_pretrained`` without a ``dtype``: that of config.json, else of the first tensor."""
    files, encoder = opened(spec.id, files, spec.args)
    if encoder is not None and encoder.is_static:
        return static_dtype(encoder, files)
    dtype = (encoder and encoder.dtype) or getattr(config_of(spec, files), "dtype", None)
    return "stored" if dtype is None else str(dtype).removeprefix("torch.")


@hookimpl
def layerzoo_preprocess(
    spec: ModelSpec, files: Files
) -> Callable[..., Any] | LibraryTokenizer | StaticTokenizer | NoTokenizer | None:
    """Return the library's own tokenizer, feature extractor, image processor or video processor."""
    files, encoder = opened(spec.id, files, spec.args)
    if encoder is not None and encoder.is_static:
        return StaticTokenizer.of(encoder, files)
    with translated_errors(spec.id):
        if spec.modality == "text":
            config, part = config_of(spec, files), spec.args.get("part")
            if part is None and encoder is not None and encoder.pools_decoder(config):
                part = _part(spec, encoder, backbone_without_values(config, "text", ""))
            text_tokenizer = tokenizer(spec.id, config, files, part, encoder=encoder)
            if isinstance(text_tokenizer, LibraryTokenizer) and encoder is not None:
                text_tokenizer.prompts = prompts(encoder, text_tokenizer.library)
            return text_tokenizer
        if spec.modality == "audio":
            return audio_features(spec.id, config_of(spec, files), files, spec.args.get("part"))
        return image_processor(spec, config_of(spec, files), files)


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of the backbone, by transformers' names, and those of the modules that sentence-transformers
    runs after it."""
    own = _own_tensors(tensors, network_folder(spec.id, files, spec.args.get("route")), files)
    of_modules = {name: tensor for name, tensor in tensors.items() if "/" in name}
    files, encoder = opened(spec.id, files, spec.args)
    if encoder is not None and encoder.is_static:
        backbone_tensors: Mapping[str, Tensor] = static_tensors(own)
    else:
        with translated_errors(spec.id):
            backbone_tensors = mapped(sized_config_of(spec, files), own, partial(_parts, spec, encoder)) or own
    prefixes = encoder.tensor_names() if encoder else {}
    return {
        **backbone_tensors,
        **{
            prefix + name.removeprefix(checkpoint_prefix): tensor
            for checkpoint_prefix, prefix in prefixes.items()
            for name, tensor in of_modules.items()
            if name.startswith(checkpoint_prefix)
        },
    }


def _prepared(backbone: nn.Module) -> nn.Module:
    """Make a backbone accept padded batches and batches of image patches, in place."""
    return with_batch_axis(leave_out_padding(backbone))


def _base_network(spec: ModelSpec, files: Files) -> Any:
    """Return the base network in torch's default dtype, regardless of the dtype of its checkpoint.

    If that dtype is lower than float32, the parameters that the library keeps in float32 stay in float32.

    Without values, as on the meta device, all experts run at once: the routing of a token to experts depends on values.
    """
    options = {} if _has_values() else {"experts_implementation": "batched_mm"}
    config = without_cache(sized_config_of(spec, files))
    dtype = torch.get_default_dtype()
    with without_hub_kernels():
        network = new_network(config, dtype=dtype, trust_remote_code=False, **options)
    keep_in_float32(network, dtype)
    return network


def _has_values() -> bool:
    """Return whether new tensors hold values: they do not on the meta device and under FakeTensorMode."""
    probe = torch.empty(0)
    return type(probe) is Tensor and not probe.is_meta


def _own_tensors(tensors: Mapping[str, Tensor], folder: str, files: Files) -> dict[str, Tensor]:
    """Return the tensors of a network, under their names in its file.

    folder: where the repository has the network; empty for its own folder. A checkpoint that the user gives in place of
    the repository's comes first.
    """
    root = {name: tensor for name, tensor in tensors.items() if "/" not in name}
    if not folder or (root and files[MODULES].parent != files[files.checkpoint_name or MODULES].parent):
        return root
    return {
        name.removeprefix(f"{folder}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{folder}/") and "/" not in name.removeprefix(f"{folder}/")
    }


def _embedding(spec: ModelSpec, encoder: SentenceEncoder | None, network: Any, part: str) -> nn.Module | None:
    """Return the module that computes the layer `embedding` from the output of the backbone; None without one."""
    library: nn.Module | None = None
    if method_modules(network, spec.modality):
        library = ReturnedEmbedding()
    elif part in network._modules and has_library_embedding(network.config, spec.modality):
        library = library_embedding(network, spec.modality)
    if encoder is None or spec.modality not in encoder.modalities:
        return library
    return encoder.embedding(spec.modality, library)


def _parts(spec: ModelSpec, encoder: SentenceEncoder | None, network: Any) -> dict[str, str]:
    """Return the paths of the backbone and of the modules of the embedding, each with its path in the backbone."""
    if modules := method_modules(network, spec.modality):
        return modules
    part = _part(spec, encoder, network)
    if not (part in network._modules and has_library_embedding(network.config, spec.modality)):
        return {part: ""}
    inside = LIBRARY if encoder and spec.modality in encoder.modalities else ""
    return {part: "", **projections(network, spec.modality, inside=inside)}


def _part(spec: ModelSpec, encoder: SentenceEncoder | None, network: nn.Module) -> str:
    declared_part: str | None = spec.args.get("part")
    if declared_part is not None:
        return declared_part
    part = backbone_path(network, spec.modality)
    if encoder is None or spec.modality != "text" or not encoder.pools_decoder(network.config):
        return part
    return part.rpartition(".")[0] if is_encoder_of_pair(network, part) else part
