"""The tier `preprocess`: the declared values are applied, also to unusual inputs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from layerzoo.conformance import inputs
from layerzoo.conformance.pixels import DIFFERENCE, pixel_diagnosis, pixel_difference
from layerzoo.conformance.report import Finding
from layerzoo.conformance.static import finding
from layerzoo.conformance.subject import ModelSubject, Skip, reason_of
from layerzoo.conformance.tokens import tokens_elsewhere
from layerzoo.errors import DeclarationError, LayerzooError, SampleError
from layerzoo.media.audio_input import Audio
from layerzoo.media.image import to_array
from layerzoo.media.inputs import ImageInputs
from layerzoo.media.text import TOKENIZER_MEMBERS, Tokenizer
from layerzoo.plugins.failure import summary
from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.declarations import ADVICE, check_cls_token
from layerzoo.runtime.preprocess import TextPreprocessor, VideoPreprocessor
from layerzoo.runtime.preprocess.image import PIXELS
from layerzoo.spec import AudioPreprocess, ImagePreprocess, TextPreprocess, VideoPreprocess

_LARGEST_MEAN, _LARGEST_STD = 1.0, 2.0
"""On a scale of 0 to 1. The largest in use: a mean of 0.55, a standard deviation of 1."""
_RATE_NAMES = ("sample_rate", "sampling_rate", "sample_rate_hz", "samplerate")
_LIBRARY_FIELDS = ("mean", "std", "resize", "sample_rate_hz", "channels")
"""The declared values that follow from the training of the weights, for all sizes of the input."""


def odd(subject: ModelSubject) -> Iterator[Finding]:
    """Preprocess unusual inputs. preprocess-shape finds an image size that is wrong for usual ones, too."""
    usual = subject.row.inputs[PIXELS].shape[-3:] if _has_fixed_size(subject) else None
    for described, sample in inputs.odd(_declared(subject)):
        try:
            rows = list(islice(iter(subject.preprocess.rows(sample).rows), 2))
        except SampleError:
            continue
        except Exception as error:  # noqa: BLE001 - the code of a plugin may raise anything
            yield finding(subject, "preprocess-odd", f"{described}: {summary(error)}, which is not a SampleError")
            continue
        for row in rows:
            for name, array in row.inputs.items():
                if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                    yield finding(subject, "preprocess-odd", f"{described}: the input {name} is not finite")
                if usual is not None and name == PIXELS and array.shape[-3:] != usual:
                    cause = f"{described} becomes {array.shape[-3:]}, and usual images become {usual}"
                    yield finding(subject, "preprocess-odd", cause)


def shape(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the size of preprocessed images with the declared size."""
    image = _image(subject)
    if image.variable_size:
        raise Skip("the size of its input depends on the image")
    if _is_processor(subject):
        raise Skip("the processor of its library decides on the form of its input")
    expected = (3, *image.size_px)
    for row in subject.rows:
        pixels = row.inputs.get(PIXELS)
        if pixels is not None and pixels.shape[-3:] != expected:
            yield finding(subject, "preprocess-shape", f"an image becomes {pixels.shape}, and declared is {expected}")
            return


def values(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the pixels of the hook layerzoo_preprocess with those of the declared values."""
    declared, transform = _image(subject), _transform(subject)
    if transform is None:
        raise Skip("the declared values are applied: it has no hook layerzoo_preprocess for images")
    if _is_processor(subject):
        raise Skip("the processor of its library is applied, and declared as such")
    for sample in (inputs.image(97, 130, 1), inputs.image(220, 140, 2)):
        applied = _pixels(transform(sample))
        if applied is None:
            raise Skip("its hook gives more inputs than pixels")
        stated = to_array(sample, declared)
        if applied.shape != stated.shape:
            cause = f"the hook gives {applied.shape}, and the declared values {stated.shape}"
            yield finding(subject, "preprocess-values", cause)
            return
        difference = pixel_difference(applied, stated)
        if difference > DIFFERENCE:
            cause = f"pixels differ by {difference:.2g} of their spread: {pixel_diagnosis(applied, sample, declared)}"
            yield finding(subject, "preprocess-values", cause)
            return


def scale(subject: ModelSubject) -> Iterator[Finding]:
    """Find mean and std on a scale of 0 to 255."""
    image = _image(subject)
    if max(image.mean) > _LARGEST_MEAN or max(image.std) > _LARGEST_STD:
        yield finding(subject, "preprocess-scale", f"declared are mean {list(image.mean)} and std {list(image.std)}")


def library(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the declared preprocessing with that of the model's library."""
    spec, located = subject.located.spec, subject.located
    declared = subject.spec.preprocess
    if declared is None or subject.spec.traced_with:
        raise Skip("it declares no preprocessing: that of its library is applied")
    is_frames = isinstance(declared, VideoPreprocess) and not declared.joint
    image_spec = replace(spec, modality="vision", preprocess=None) if is_frames else spec
    described = (located.hooks.describe(image_spec, located.files) or {}).get("preprocess")
    if not described:
        raise Skip("its library states no preprocessing")
    stated: Any = declared.image if isinstance(declared, VideoPreprocess) else declared
    if isinstance(declared, VideoPreprocess):
        described = described.get("image", described)
    for name in _LIBRARY_FIELDS:
        if name not in described or not hasattr(stated, name):
            continue
        declared_value, library_value = getattr(stated, name), described[name]
        if not _alike(declared_value, library_value):
            yield finding(
                subject,
                "preprocess-library",
                f"declared is {name}: {_as_text(declared_value)}, and its library has {_as_text(library_value)}",
            )


def rate(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the declared sample rate with those that the network and the feature extractor state."""
    declared = _declared(subject)
    if not isinstance(declared, AudioPreprocess):
        raise Skip("it takes no audio")
    for owner, value in [*_stated_rates(subject), *_constants(subject)]:
        if value != declared.sample_rate_hz:
            cause = f"declared are {declared.sample_rate_hz} Hz, and {owner} states {value} Hz"
            yield finding(subject, "preprocess-rate", cause)


def _stated_rates(subject: ModelSubject) -> Iterator[tuple[str, int]]:
    transform = getattr(subject.preprocess, "_transform", None)
    parts = [("the hook's callable", transform), *(vars(transform).items() if hasattr(transform, "__dict__") else ())]
    if isinstance(transform, nn.Module):
        parts += list(transform.named_modules())
    parts += [
        (f"the module {path or type(module).__name__}", module) for path, module in subject.network.named_modules()
    ]
    seen: set[int] = set()
    for owner, part in parts:
        if part is None or id(part) in seen or isinstance(part, int | float | str):
            continue
        seen.add(id(part))
        for name in _RATE_NAMES:
            value = getattr(part, name, None)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                yield f"{owner}.{name}", int(value)


def _constants(subject: ModelSubject) -> Iterator[tuple[str, int]]:
    """Yield the constants of the plugin's modules that are called as a sample rate."""
    top = subject.owner.manifest.module
    for name, module in list(sys.modules.items()):
        if name == top or name.startswith(f"{top}."):
            for constant, value in list(vars(module).items()):
                if constant.isupper() and constant.lower() in _RATE_NAMES and isinstance(value, int):
                    yield f"{name}.{constant}", value


def refuses(subject: ModelSubject) -> Iterator[Finding]:
    """Preprocess inputs that have to be refused."""
    declared = _declared(subject)
    refused: list[tuple[str, Any]] = []
    if isinstance(declared, AudioPreprocess):
        one_second = np.zeros(declared.sample_rate_hz, np.float32)
        refused.append(("audio at 0 Hz", Audio(one_second, 0)))
        if declared.channels > 1:
            waveform = np.zeros((declared.sample_rate_hz, declared.channels + 1), np.float32)
            refused.append((f"audio of {declared.channels + 1} channels", Audio(waveform, declared.sample_rate_hz)))
    elif isinstance(declared, ImagePreprocess) and not _is_processor(subject):
        refused.append(("a preprocessed image of 2 channels", torch.zeros(2, *declared.size_px)))
    elif isinstance(declared, TextPreprocess):
        refused.append(("tokens that are not integers", torch.zeros(3)))
    if not refused:
        raise Skip("every input of its kind is accepted")
    for described, sample in refused:
        try:
            list(islice(iter(subject.preprocess.rows(sample).rows), 1))
        except LayerzooError:
            continue
        except Exception as error:  # noqa: BLE001 - the code of a plugin may raise anything
            yield finding(subject, "preprocess-refuses", f"{described}: {summary(error)}, which is not a SampleError")
            continue
        yield finding(subject, "preprocess-refuses", f"{described} is accepted")


def tokenizer(subject: ModelSubject) -> Iterator[Finding]:
    """Check the members of a tokenizer, and its token ids."""
    text_tokenizer = _tokenizer(subject)
    if missing := [name for name in TOKENIZER_MEMBERS if not hasattr(text_tokenizer, name)]:
        yield finding(subject, "preprocess-tokenizer", f"{type(text_tokenizer).__name__} has no {', '.join(missing)}")
        return
    vocabulary = [module.num_embeddings for module in subject.network.modules() if isinstance(module, nn.Embedding)]
    known_ids = [*text_tokenizer.prefix, *text_tokenizer.suffix, text_tokenizer.pad]
    for text, ids in _encoded(text_tokenizer):
        if not isinstance(ids, list | tuple) or not all(isinstance(token_id, int) for token_id in ids):
            yield finding(subject, "preprocess-tokenizer", f"encode({text!r}) does not return a list of integers")
            return
        known_ids += ids
    if not all(isinstance(token_id, int) for token_id in known_ids):
        yield finding(subject, "preprocess-tokenizer", "prefix, suffix and pad are not all integers")
    elif vocabulary and not 0 <= min(known_ids) <= max(known_ids) < max(vocabulary):
        cause = f"token ids are {min(known_ids)} to {max(known_ids)}, and the network has {max(vocabulary)} embeddings"
        yield finding(subject, "preprocess-tokenizer", cause)


def special_tokens(subject: ModelSubject) -> Iterator[Finding]:
    """Find special tokens that encode() adds in addition to prefix and suffix."""
    text_tokenizer = _tokenizer(subject)
    prefix, suffix = list(text_tokenizer.prefix), list(text_tokenizer.suffix)
    if not (prefix or suffix):
        raise Skip("its tokenizer has no special tokens")
    encoded = [ids for _, ids in _encoded(text_tokenizer) if ids]
    if prefix and encoded and all(ids[: len(prefix)] == prefix for ids in encoded):
        yield finding(
            subject, "preprocess-special-tokens", f"encode() begins with the prefix {prefix}, which is added again"
        )
    if suffix and encoded and all(ids[len(ids) - len(suffix) :] == suffix for ids in encoded):
        yield finding(
            subject, "preprocess-special-tokens", f"encode() ends with the suffix {suffix}, which is added again"
        )


def cls_token(subject: ModelSubject) -> Iterator[Finding]:
    """Find a declared classification token that the tokenizer does not have."""
    declared = _declared(subject)
    if not (isinstance(declared, TextPreprocess) and declared.cls_token):
        raise Skip("it declares no classification token")
    spec, located = subject.tracer.spec, subject.located
    described = (located.hooks.describe(spec, located.files) or {}).get("preprocess") or {}
    try:
        check_cls_token(spec, subject.preprocess, described.get("cls_token"))
    except DeclarationError as error:
        yield finding(subject, "preprocess-cls-token", reason_of(error).removesuffix(f" {ADVICE}"))


def repeat(subject: ModelSubject) -> Iterator[Finding]:
    """Preprocess one input twice; with a tokenizer of the plugin's own, also in another process."""
    samples = inputs.usual(subject.preprocess, _declared(subject)) if subject.inputs is None else subject.inputs
    for sample in samples[:2]:
        try:
            first, second = (list(islice(iter(subject.preprocess.rows(sample).rows), 2)) for _ in range(2))
        except SampleError:
            continue
        if not _rows_equal(first, second):
            yield finding(subject, "preprocess-repeat", "the same input gives other values the second time")
            return
    preprocess = subject.preprocess
    if not isinstance(preprocess, TextPreprocessor):
        return
    text_tokenizer = preprocess.tokenizer
    if type(text_tokenizer).__module__.partition(".")[0] != subject.owner.manifest.module or subject.owner.is_core:
        return  # a library's tokenizer, or that of this package
    encoded = [(text, list(ids)) for text, ids in _encoded(text_tokenizer)]
    other_process = tokens_elsewhere(subject, [text for text, _ in encoded])
    for (text, ids), other_ids in zip(encoded, other_process, strict=False):
        if ids != other_ids:
            cause = f"encode({text!r}) gives {ids[:6]} here, and {other_ids[:6]} in another process"
            yield finding(subject, "preprocess-repeat", cause)
            return


def pickled(subject: ModelSubject) -> Iterator[Finding]:
    """Pickle the callable of the hook layerzoo_preprocess."""
    preprocess = subject.preprocess
    part = getattr(preprocess, "_transform", None) or getattr(preprocess, "_tokenizer", None)
    if part is None:
        raise Skip("it has no hook layerzoo_preprocess")
    try:
        pickle.loads(pickle.dumps(part))
    except Exception as error:  # noqa: BLE001 - pickle raises whatever the object's code raises
        yield finding(subject, "preprocess-pickle", f"{type(part).__name__}: {summary(error)}")


# ---------------------------------------------------------------- parts


def _declared(subject: ModelSubject) -> Any:
    return subject.tracer.spec.preprocess


def _image(subject: ModelSubject) -> ImagePreprocess:
    """Return the preprocessing of images, or of frames. Raises: Skip."""
    declared = _declared(subject)
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    if not isinstance(image, ImagePreprocess):
        raise Skip("it takes no images")
    return image


def _has_fixed_size(subject: ModelSubject) -> bool:
    """Return whether every image becomes an array of the declared size."""
    try:
        image = _image(subject)
    except Skip:
        return False
    return not image.variable_size and image.processor is None and PIXELS in subject.row.inputs


def _is_processor(subject: ModelSubject) -> bool:
    return _image(subject).processor is not None


def _transform(subject: ModelSubject) -> Callable[..., Any] | None:
    preprocess = subject.preprocess
    if isinstance(preprocess, VideoPreprocessor):
        if preprocess.declared.joint and preprocess._transform is not None:
            raise Skip("its hook takes a whole clip")
        return preprocess._transform
    transform: Callable[..., Any] | None = getattr(preprocess, "_transform", None)
    return transform


def _tokenizer(subject: ModelSubject) -> Tokenizer:
    if not isinstance(subject.preprocess, TextPreprocessor):
        raise Skip("it takes no text")
    text_tokenizer = subject.preprocess.tokenizer
    try:
        text_tokenizer.encode("a")
    except SampleError:
        pass
    except LayerzooError as error:
        raise Skip(f"it has no tokenizer here: {reason_of(error)}") from error
    return text_tokenizer


def _encoded(text_tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Yield the texts that a tokenizer accepts, with their token ids."""
    for text in inputs.TEXTS:
        try:
            yield text, text_tokenizer.encode(text)
        except SampleError:
            continue


def _pixels(transformed: Any) -> NDArray[Any] | None:
    if isinstance(transformed, ImageInputs):
        return np.asarray(next(iter(transformed.inputs.values()))) if len(transformed.inputs) == 1 else None
    return np.asarray(transformed, dtype=np.float32)


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, tuple):
        return len(first) == len(second) and bool(np.allclose(first, second, atol=2e-3))
    return bool(first == second)


def _as_text(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def _rows_equal(rows: list[InputRow], other_rows: list[InputRow]) -> bool:
    return len(rows) == len(other_rows) and all(
        first.inputs.keys() == second.inputs.keys()
        and all(np.array_equal(array, second.inputs[name]) for name, array in first.inputs.items())
        for first, second in zip(rows, other_rows, strict=True)
    )


MODEL_CHECKS: dict[str, Callable[[ModelSubject], Iterator[Finding]]] = {
    "preprocess-odd": odd,
    "preprocess-shape": shape,
    "preprocess-values": values,
    "preprocess-scale": scale,
    "preprocess-library": library,
    "preprocess-rate": rate,
    "preprocess-refuses": refuses,
    "preprocess-tokenizer": tokenizer,
    "preprocess-special-tokens": special_tokens,
    "preprocess-cls-token": cls_token,
    "preprocess-repeat": repeat,
    "preprocess-pickle": pickled,
}
