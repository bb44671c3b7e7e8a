"""Compare the declaration of a model with a trace of its network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from layerzoo.errors import DeclarationError, WeightsError
from layerzoo.pooling import POSITION_AXES
from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.clip_lengths import frames_of
from layerzoo.runtime.preprocess import Preprocessor, TextPreprocessor
from layerzoo.spec import AudioPreprocess, Layer, Modality, ModelSpec, TextPreprocess

_LISTED = 6
"""Number of layers that a message lists, the deepest ones."""
ADVICE = (
    "Next: correct the declaration; or, where the network is as declared and the trace misleads, keep it with "
    "--trust-declaration (trust_declaration=True)"
)


@dataclass(frozen=True, slots=True)
class LayerEvidence:
    """Facts about one layer that traces show."""

    shape: tuple[int, ...]
    """Of the activation, including the batch."""
    layout: AxisLayout | None
    """Axes and prefix tokens that traces at several input sizes show; None if they show none."""
    batch_size: int
    example: str
    """Describes the traced input in messages."""
    added: tuple[int, int] | None
    """Numbers of tokens that the network adds before those of the input and after them; None if unknown."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A part of a layer's declaration that a trace contradicts. text: the declaration and the result of the trace."""

    part: Literal["axes", "tokens", "shape"]
    text: str


def check_layer(
    layer: Layer, evidence: LayerEvidence, *, model: str, modality: Modality, has_own_shape: bool = True
) -> None:
    """Refuse a declared layer that a trace contradicts.

    Args:
        has_own_shape: whether the declared shape was stated for this model, and not for its base.
    Raises: DeclarationError, which names the declaration and the result of the trace.
    """
    messages = [
        contradiction.text for contradiction in contradictions(layer, evidence, modality, has_own_shape=has_own_shape)
    ]
    if messages:
        raise DeclarationError(f"{model}, layer {layer.name}: {'; '.join(messages)}. {ADVICE}")


def contradictions(
    layer: Layer, evidence: LayerEvidence, modality: Modality, *, has_own_shape: bool = True
) -> Iterator[Contradiction]:
    """Yield the contradictions between the declaration of a layer and a trace. Arguments: :func:`check_layer`."""
    axes, shape = layer.axes, evidence.shape
    if axes is not None and (mistake := _wrong_axes(axes, evidence)):
        yield Contradiction("axes", mistake)
        return
    for text in _wrong_tokens(layer, evidence, modality):
        yield Contradiction("tokens", text)
    if layer.shape is not None and has_own_shape:
        batch = (axes or ("batch",)).index("batch")
        traced = tuple(size for at, size in enumerate(shape) if at != batch)
        if traced != layer.shape:
            yield Contradiction(
                "shape",
                f"declared is the shape {_sizes(layer.shape)}, and for {evidence.example} the network gives "
                f"{_sizes(traced)}",
            )


def _wrong_axes(axes: tuple[str, ...], evidence: LayerEvidence) -> str | None:
    shape, layout, rows = evidence.shape, evidence.layout, evidence.batch_size
    declared = f"declared are the axes '{' '.join(axes)}'"
    if "batch" not in axes:
        return f"{declared} without a batch, and a batch of {rows} gives {_sizes(shape)}"
    if shape[axes.index("batch")] != rows:
        return f"{declared}, and a batch of {rows} gives {_sizes(shape)}"
    if layout is not None and any(not _may_be(*pair) for pair in zip(axes, layout.axes, strict=True)):
        return f"{declared}, and inputs of other sizes show '{' '.join(layout.axes)}'"
    return None


def _may_be(declared: str, inferred: str) -> bool:
    """Return whether a declared axis may have an inferred name. Positions have several names."""
    if {declared, inferred} <= {"height", "width"}:
        return declared == inferred
    return declared == inferred or (declared in POSITION_AXES and inferred in POSITION_AXES)


def _wrong_tokens(layer: Layer, evidence: LayerEvidence, modality: Modality) -> Iterator[str]:
    shape, layout, added = evidence.shape, evidence.layout, evidence.added
    prefix, suffix, last = layer.prefix_tokens or 0, layer.suffix_tokens or 0, layer.last_tokens
    if not (prefix or suffix or last or layer.prefix_tokens is not None):
        return
    declared = f"declared are {prefix} prefix" + (f" and {suffix} suffix tokens" if suffix else " tokens")
    axes = layer.axes or (layout.axes if layout else None)
    sequence = [at for at, axis in enumerate(axes or ()) if axis in ("token", "time", "frame")]
    inferred = layout.prefix_tokens if layout else None
    is_placed = inferred is not None and added is not None and sum(added) == inferred
    if axes is not None and (prefix or suffix) and not sequence:
        yield f"{declared}, and the axes '{' '.join(axes)}' have no tokens"
    elif last is not None:
        allowed = added[1] if is_placed and added else inferred
        if modality != "text" and allowed is not None and last > allowed:
            position = "after those of the input" if is_placed else "in all that do not cover the input"
            yield f"declared are the last {last} tokens, and the network has {allowed} tokens {position}"
    elif axes is not None and sequence and prefix + suffix >= shape[sequence[0]]:
        yield f"{declared}, and there are {shape[sequence[0]]} tokens in all"
    elif inferred is None:
        return
    elif modality == "text":  # tokens of the row, such as [CLS], may also be declared
        if prefix + suffix < inferred:
            yield f"{declared}, and the network adds {inferred} tokens to a text"
        elif is_placed and added and (suffix < added[1] or (layer.prefix_tokens is not None and prefix < added[0])):
            yield f"{declared}, and the network adds {added[0]} tokens before a text and {added[1]} after it"
    elif suffix > inferred or (layer.prefix_tokens is not None and prefix + suffix != inferred):
        yield f"{declared}, and inputs of other sizes show {inferred} tokens that do not cover the input"
    elif is_placed and added and suffix != added[1]:
        yield f"{declared}, and the network has {added[0]} tokens before those of the input and {added[1]} after them"


def check_frames(spec: ModelSpec, layers: Sequence[Layer], traced: Sequence[tuple[int, Sequence[int]]]) -> None:
    """Refuse a declared frame length and hop that fits no layer.

    Args:
        traced: for one or two input lengths, the number of audio samples, and the number of frames at each layer.
    Raises: DeclarationError.
    """
    declared = spec.preprocess
    if not isinstance(declared, AudioPreprocess) or declared.frame_hop_samples is None or not layers:
        return
    expected = [frames_of(samples, declared.frame_hop_samples) for samples, _ in traced]
    traced_frames = list(zip(*(frames for _, frames in traced), strict=True))
    if any(list(frames) == expected for frames in traced_frames):
        return
    frame, hop = declared.frame_hop_samples
    samples = " and ".join(str(samples) for samples, _ in traced)
    listed = [
        f"{layer.name} {' and '.join(map(str, frames))}" for layer, frames in zip(layers, traced_frames, strict=True)
    ]
    summary = ", ".join(listed[-_LISTED:]) + (
        f" and {len(listed) - _LISTED} more layers" if len(listed) > _LISTED else ""
    )
    raise DeclarationError(
        f"{spec.id}: declared is frame_hop_samples: [{frame}, {hop}], which makes {' and '.join(map(str, expected))} "
        f"frames of {samples} samples, and the network makes: {summary}. {ADVICE}"
    )


def check_cls_token(spec: ModelSpec, preprocess: Preprocessor, library_says: bool | None) -> None:
    """Refuse a declared classification token that the tokenizer does not put before a text.

    Args:
        library_says: whether the model's library has such a token; None if unknown.
    Raises: DeclarationError.
    """
    if not (isinstance(spec.preprocess, TextPreprocess) and spec.preprocess.cls_token):
        return
    assert isinstance(preprocess, TextPreprocessor)
    tokenizer = preprocess.tokenizer
    with suppress(Exception):
        try:
            tokenizer.encode("a")
        except WeightsError:  # an architecture without a checkpoint has no tokenizer
            return
    prefix = list(tokenizer.prefix)
    if prefix and library_says is not False:
        return
    description = (
        f"puts the special tokens {prefix} before a text, of which none is one" if prefix else "puts none before a text"
    )
    raise DeclarationError(
        f"{spec.id}: declared is cls_token: true, a classification token, and the tokenizer {description}. {ADVICE}"
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
