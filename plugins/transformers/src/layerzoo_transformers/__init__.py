"""transformers' networks: `builder: transformers`.

What to build follows from the config.json among the model's files, or from `args: {model_type, config}`; `part` names
a submodule to be built alone, such as the encoder of an encoder-decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from layerzoo import ModelSpec, hookimpl
from layerzoo.weights import Files
from layerzoo_transformers.checkpoint import mapped
from layerzoo_transformers.preprocess import LibraryTokenizer, describe_text, sound_features


@hookimpl
def layerzoo_build(spec: ModelSpec, files: Files) -> nn.Module:
    network: nn.Module = AutoModel.from_config(_config(spec, files))
    return network.get_submodule(spec.args.get("part", ""))


@hookimpl
def layerzoo_describe(spec: ModelSpec, files: Files) -> dict[str, Any] | None:
    return describe_text(_config(spec, files), files) if spec.modality == "text" else None


@hookimpl
def layerzoo_preprocess(spec: ModelSpec, files: Files) -> Callable[..., Any] | LibraryTokenizer | None:
    if spec.modality == "text":
        return LibraryTokenizer.of(files)
    if spec.modality == "audio":
        return sound_features(_config(spec, files))
    return None


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The base network's part of a checkpoint, as transformers names it; of that, what belongs to `part`."""
    whole = mapped(_config(spec, files), tensors)
    part = spec.args.get("part", "")
    below = {name.removeprefix(f"{part}."): tensor for name, tensor in whole.items() if name.startswith(f"{part}.")}
    return (below if part else whole) or tensors


def _config(spec: ModelSpec, files: Files) -> Any:
    if "model_type" in spec.args:
        given = spec.args.to_dict()
        return AutoConfig.for_model(given["model_type"], **given.get("config", {}))
    return AutoConfig.from_pretrained(files["config.json"])
