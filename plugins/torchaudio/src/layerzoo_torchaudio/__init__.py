"""torchaudio's networks: `builder: torchaudio`, `args: {name: a pipeline, factory or front end, and its arguments}`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from layerzoo import ModelSpec, hookimpl
from layerzoo.errors import MismatchedLibraryError
from layerzoo.weights import Files

try:
    import torchaudio  # noqa: F401
except OSError as error:  # its compiled part was built for another version of torch
    versions = {name: version(name) for name in ("torch", "torchaudio")}
    reason = next(iter(str(error).splitlines()), "")
    raise MismatchedLibraryError("torchaudio", "torch", versions, reason=reason) from error

from layerzoo_torchaudio import catalogue
from layerzoo_torchaudio.front_ends import FRONT_ENDS
from layerzoo_torchaudio.names import model_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the backbone as torchaudio builds it, with its initial parameters."""
    return model_of(spec.id, spec.args.to_dict()).build()


@hookimpl
def layerzoo_describe(spec: ModelSpec) -> dict[str, Any] | None:
    """Return the input of a model, the chain of its blocks, and what is extracted by default."""
    model = model_of(spec.id, spec.args.to_dict())
    default = {"default": dict(model.default)} if model.default else {}
    return {"preprocess": dict(model.preprocess), "chain": model.chain, **default}


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> Any:
    """Return the normalisation of the library's own pipeline, or its text processor."""
    return model_of(spec.id, spec.args.to_dict()).transform


@hookimpl
def layerzoo_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return every pipeline and front end."""
    return catalogue.models()


@hookimpl
def layerzoo_read_weights(spec: ModelSpec) -> Mapping[str, Tensor] | None:
    """Return the windows and filter banks of a front end, which are computed; None for a model with weights."""
    if spec.args.get("name") not in FRONT_ENDS:
        return None
    tensors: Mapping[str, Tensor] = model_of(spec.id, spec.args.to_dict()).build().state_dict()
    return tensors


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of the backbone from a published checkpoint, as torchaudio loads them."""
    model = model_of(spec.id, spec.args.to_dict())
    return model.add_tensors(model.select_tensors(tensors), files)
