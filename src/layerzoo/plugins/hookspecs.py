"""What a plugin may implement. Only the first is needed; a hook may leave out the arguments it does not use.

``files`` is a :class:`layerzoo.weights.Files`: the model's local files by name, already verified. No hook fetches
anything. The hooks of a model are asked of the plugin that declares the model, then of the one that offers its builder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from layerzoo.media.text import Tokenizer
    from layerzoo.plugins.pooling import PluginPooling
    from layerzoo.spec import ModelSpec
    from layerzoo.weights import Files

__all__ = [
    "HOOKS_VERSION",
    "hookimpl",
    "layerzoo_build",
    "layerzoo_catalogue",
    "layerzoo_decode",
    "layerzoo_describe",
    "layerzoo_dtype",
    "layerzoo_identify",
    "layerzoo_pooling",
    "layerzoo_preprocess",
    "layerzoo_read_weights",
    "layerzoo_state_dict",
]

HOOKS_VERSION = 1
"""The version of the hooks. It increases when a hook is removed, or is called with other arguments.

A deprecated hook has ``@hookspec(warn_on_impl=FutureWarning("REPLACEMENT"))``: pluggy then warns once for each plugin
that implements it.
"""
hookspec = pluggy.HookspecMarker("layerzoo")
hookimpl = pluggy.HookimplMarker("layerzoo")
"""Marks a function of a plugin's module as one of the hooks below: ``@hookimpl``."""


@hookspec(firstresult=True)
def layerzoo_build(spec: ModelSpec, files: Files) -> torch.nn.Module | None:
    """Return the architecture of a spec, with whatever weights it starts with. Must run under ``torch.device("meta")``.

    It may be any ``torch.nn.Module``. Its ``forward`` takes a single input by position, and several by name, each with
    the batch axis first:

    text: token ids (batch, token) int64, and the attention mask (batch, token) int64 if the tokenizer names one: 1 for
        tokens of the text, 0 for padding.
    vision: (batch, channel, height, width) float32.
    audio: (batch, time) float32, (batch, channel, time) for several channels; or the arrays of
        :class:`layerzoo.authoring.AudioInputs`, with a mask (batch, time) where clips were padded.
    video: (batch, frame, channel, height, width) float32 for ``joint: true``; else as for vision, a frame at a time.

    It may return anything: layers are the outputs of its submodules.
    """


@hookspec(firstresult=True)
def layerzoo_describe(spec: ModelSpec, files: Files) -> dict[str, Any] | None:
    """Return what the library knows of a model in addition to its declaration: keys of registry.yaml, such as
    ``preprocess`` and ``default``. It applies to keys that the declaration does not set.

    The further key ``chain`` is a :class:`layerzoo.authoring.Chain`, for a network whose trace is ambiguous: it
    describes the blocks that layers are named by.
    """


@hookspec(firstresult=True)
def layerzoo_dtype(spec: ModelSpec, files: Files) -> str | None:
    """Return the dtype that the library computes in by default with this checkpoint, as torch names it: ``bfloat16``.

    ``stored``: that of the checkpoint's first floating-point tensor. None: float32, as with most libraries. It is
    reported where it is not float32, and used for ``precision="library"``: then :func:`layerzoo_build` runs while it is
    ``torch.get_default_dtype()``.
    """


@hookspec(firstresult=True)
def layerzoo_preprocess(spec: ModelSpec, files: Files) -> Callable[..., Any] | Tokenizer | None:
    """Preprocessing where declared values are not enough; what it gives depends on the modality.

    text: a :class:`layerzoo.media.text.Tokenizer`, whose ``arguments`` name the network's arguments; better a
        :class:`layerzoo.media.text.KnowsUnknown`. For a network that takes more than token ids and a mask, a
        :class:`layerzoo.media.text.TensorTokenizer`.
    audio: a callable from float32 samples at the model's rate, of one window, to an array the network takes, or to
        :class:`layerzoo.authoring.AudioInputs` where the network takes more than that. The samples are (time,) for a
        network of one channel, else (channel, time).
    vision: a callable from an RGB ``PIL.Image`` to a (channel, height, width) float32 array, or to
        :class:`layerzoo.authoring.ImageInputs` where the network takes more than that.
    video: a callable from the list of a clip's frames, an RGB ``PIL.Image`` each, to (frame, channel, height, width) or
        ``ImageInputs``; of a model whose frames go through the network one by one, a callable as for vision.

    What is returned for images and videos is applied instead of the declared values: return None to have
    these applied. A callable has to be picklable, and several threads may call it at once.
    """


@hookspec(firstresult=True)
def layerzoo_read_weights(spec: ModelSpec, files: Files) -> Mapping[str, torch.Tensor] | None:
    """Return a checkpoint in a format that layerzoo does not read, as a state dict: tensors by the network's keys.

    It is converted once and kept. None: layerzoo reads it.

    For a file format that the ``files.toml`` of a plugin declares with ``kind = "weights"``, that plugin is asked too,
    after those of the model, whatever plugin the model is from. ``files.checkpoint`` is the path of the file.
    """


@hookspec(firstresult=True)
def layerzoo_state_dict(
    spec: ModelSpec, files: Files, tensors: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor] | None:
    """Return a checkpoint under the network's keys. The tensors may be on the meta device, to learn only names."""


@hookspec(firstresult=True)
def layerzoo_identify(model: str, files: Files) -> Sequence[Mapping[str, Any]] | None:
    """Identify a repository of the hub, for a plugin whose registry.yaml has a ``hub:``. Called once for each commit.

    model: its id, for messages. files: its small files (configurations, tokenizers, …); no weights are among them.
    Returns: the keys that a model has in a registry.yaml, without ``builder`` and ``weights``; several models where its
    network takes several kinds of input, one for each modality, the main one first. None where the files do not say.
    Raises: RepositoryError for a model that the library cannot make, RemoteCodeError where it takes code of the
    repository's own.
    """


@hookspec(firstresult=True)
def layerzoo_catalogue() -> Mapping[str, Sequence[Mapping[str, Any]]] | None:
    """Every model that the plugin's library knows of, for `zoo catalogue build`, which traces them and writes the file
    that the plugin ships.

    By the name of an architecture, the models that share it, but for the size of their input or their head: each as a
    line of a catalogue has it, with its ``id``, and without layers and costs.

    Where the network of a model is not that of its weights but one of the same architecture, ``published`` says what is
    known of the weights: ``params``, the least and the largest number of parameters they may have (absent where nothing
    is known), and ``summary``, the model's summary where the network that is traced has another size. Such a model is
    then listed without size and layers, and the traced network under the model's first alias, without weights.
    """


@hookspec(firstresult=True)
def layerzoo_pooling(name: str) -> PluginPooling | None:
    """Return a pooling, for ``pool="NAMESPACE/NAME"`` at any layer of any model. Asked once for each name in a process.

    Args:
        name: the part after the namespace of the plugin.
    Returns: a :class:`layerzoo.authoring.PluginPooling`; None for a name that the plugin does not know.
    """


@hookspec(firstresult=True)
def layerzoo_decode(path: Path, kind: str) -> Any:
    """Decode a media file of a format that the plugin's ``files.toml`` declares. Runs in a decode process.

    Args:
        path: of the file.
        kind: ``vision``, ``audio`` or ``video``.
    Returns: for images a ``PIL.Image``, or an array (height, width) or (height, width, 3) of uint8 or uint16; for audio
        a :class:`layerzoo.Audio`, or samples (time,) or (time, channel) with their rate in Hz; for videos an array
        (time, height, width, 3) of uint8. For all of them the bytes of a file in a format that layerzoo reads.
    Raises: any exception for a file that cannot be decoded: only this sample fails.
    """
