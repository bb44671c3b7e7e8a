"""Convert raw samples to the rows that a network takes: one class per modality, all with the same three methods."""

from __future__ import annotations

from typing import Any

from layerzoo.bounds import check_input
from layerzoo.errors import PluginError, UsageError
from layerzoo.media.text import TOKENIZER_MEMBERS, Tokenizer
from layerzoo.runtime.preprocess.audio import AudioPreprocessor
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor
from layerzoo.runtime.preprocess.image import ImagePreprocessor
from layerzoo.runtime.preprocess.text import TextPreprocessor
from layerzoo.runtime.preprocess.video import VideoPreprocessor
from layerzoo.spec import AudioPreprocess, ImagePreprocess, ModelSpec, TextPreprocess, VideoPreprocess

__all__ = [
    "AudioPreprocessor",
    "ImagePreprocessor",
    "Prepared",
    "Preprocessor",
    "TextPreprocessor",
    "VideoPreprocessor",
    "preprocessor",
    "prompted",
]


def preprocessor(spec: ModelSpec, plugin_part: Any) -> Preprocessor:
    """Return the preprocessor of a model.

    plugin_part: the answer of its plugin's hook layerzoo_preprocess, if any.

    Raises: PluginError when declaration and plugin together are incomplete: guessing would silently give wrong
    features; TooLargeError for samples that would take gigabytes each.
    """
    declared = spec.preprocess
    check_input(declared, of=spec.id)
    if not (plugin_part is None or callable(plugin_part) or isinstance(plugin_part, Tokenizer)):
        missing = [name for name in TOKENIZER_MEMBERS if not hasattr(plugin_part, name)]
        detail = f", which has no {', '.join(missing)}" if hasattr(plugin_part, "encode") else ""
        raise PluginError(
            f"the hook layerzoo_preprocess answers {type(plugin_part).__name__} for {spec.id}: "
            f"it takes a callable, or a tokenizer for text{detail}",
            plugin=spec.builder,
        )
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    if isinstance(image, ImagePreprocess) and image.processor and image.refused is None and plugin_part is None:
        raise PluginError(
            f"{spec.id} is declared with the processor {image.processor}, and the hook layerzoo_preprocess of its "
            "plugin gave none. Next: leave `processor` out, and the declared values are applied",
            plugin=spec.builder,
        )
    if isinstance(declared, ImagePreprocess):
        return ImagePreprocessor(declared, plugin_part)
    if isinstance(declared, AudioPreprocess):
        return AudioPreprocessor(declared, plugin_part)
    if isinstance(declared, VideoPreprocess):
        return VideoPreprocessor(declared, plugin_part, model=spec.id, plugin=spec.builder)
    if isinstance(declared, TextPreprocess) and isinstance(plugin_part, Tokenizer):
        return TextPreprocessor(declared, plugin_part)
    reason = (
        "declares no `preprocess`, and its library knows none"
        if declared is None
        else "has no tokenizer: the hook layerzoo_preprocess of its plugin gave none"
    )
    raise PluginError(f"{spec.id} {reason}, so that its features would be a guess", plugin=spec.builder)


def prompted(preprocess: Preprocessor, prompt: str, *, model: str) -> Preprocessor:
    """Return the same preprocessing with a prompt before every text.

    prompt: the name of one of the model's prompts, or a text. model: its id, for the message.
    Raises: UsageError where the model takes no text, or has no prompt of that name.
    """
    if not isinstance(preprocess, TextPreprocessor):
        if preprocess.modality == "text":
            raise UsageError(f"prompt={prompt!r} needs a model with prompts, and {model} has none: add it to each text")
        raise UsageError(f"prompt={prompt!r} is for text, and {model} takes {preprocess.modality}")
    return preprocess.prompted(prompt, model=model)
