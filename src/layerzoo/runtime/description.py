"""Complete the declaration of a model with the knowledge of the library that builds it."""

from __future__ import annotations

from dataclasses import replace

from layerzoo.errors import PluginError
from layerzoo.plugins.chain import Chain
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.spec import (
    KINDS,
    Default,
    ImagePreprocess,
    ModelSpec,
    Preprocess,
    TextPreprocess,
    VideoPreprocess,
    preprocess_from_dict,
)
from layerzoo.weights import Files


def described(spec: ModelSpec, hooks: ModelHooks, files: Files) -> ModelSpec:
    """Return the spec with its missing preprocessing and default from the hook ``layerzoo_describe``.

    Raises: PluginError when the answer of the hook does not fit the modality.
    """
    is_complete = spec.preprocess is not None and not _is_incomplete(spec.preprocess)
    if is_complete and (spec.plugin is not None or spec.default != Default()):  # a plugin's own spec is complete
        return spec
    answer = hooks.describe(_described_by_library(spec), files) or {}
    try:
        if preprocess := answer.get("preprocess"):
            kind = KINDS[_described_by_library(spec).modality]
            described_preprocess = preprocess_from_dict({"kind": kind, **preprocess})
            spec = replace(spec, preprocess=_completed(spec.preprocess, described_preprocess))
        if "default" in answer and spec.default == Default():
            spec = replace(spec, default=Default(**answer["default"]))
    except TypeError as error:
        raise PluginError(
            f"the answer of the hook layerzoo_describe for {spec.id} ({spec.modality}) does not fit: {error}",
            plugin=spec.builder,
        ) from error
    return spec


def known_chain(spec: ModelSpec, hooks: ModelHooks, files: Files) -> Chain:
    """Return the hints of the library about the repeated modules of a network.

    Raises: PluginError when the hook ``layerzoo_describe`` returns something else.
    """
    chain = (hooks.describe(spec, files) or {}).get("chain") or Chain()
    if isinstance(chain, Chain):
        return chain
    raise PluginError(
        f"the hook layerzoo_describe returns an object of type {type(chain).__name__} as the chain of {spec.id}: it "
        "has to be a layerzoo.authoring.Chain, or None",
        plugin=spec.builder,
    )


def _is_incomplete(preprocess: Preprocess) -> bool:
    """Return whether a declared preprocessing needs a field that only the builder's library knows."""
    return preprocess.batching is None if isinstance(preprocess, TextPreprocess | VideoPreprocess) else False


def _described_by_library(spec: ModelSpec) -> ModelSpec:
    """Return the spec to pass to the library. Frames that run through a network one by one are images for it."""
    if isinstance(spec.preprocess, VideoPreprocess) and not spec.preprocess.joint:
        return replace(spec, modality="vision", preprocess=None)
    return spec


def _completed(declared: Preprocess | None, from_library: Preprocess) -> Preprocess:
    """Complete a declaration with the padding of texts, or the image preprocessing of videos."""
    if isinstance(declared, TextPreprocess) and isinstance(from_library, TextPreprocess):
        return replace(declared, batching=from_library.batching)
    if isinstance(declared, VideoPreprocess):
        image = from_library.image if isinstance(from_library, VideoPreprocess) else from_library
        return replace(declared, image=image) if isinstance(image, ImagePreprocess) else declared
    return declared or from_library
