"""The layer `embedding`: the final embedding of a model, computed from the output of its backbone.

The module that computes it is a child of the backbone, called ``embedding``, and runs at the end of the backbone's
forward pass. The backbone keeps its own module paths, and a network that is cut at an earlier layer never runs it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from layerzoo_hf.families import family
from layerzoo_hf.parts import backbone_path, is_projecting, modality_of, network_class

NAME = "embedding"
"""What the layer and the module are called."""
PROMPT_LENGTH = "prompt_length"
"""The network input, (batch, 1), that says how many tokens of each row are a prompt that is not pooled."""
METHODS = {
    "text": "get_text_features",
    "vision": "get_image_features",
    "audio": "get_audio_features",
    "video": "get_video_features",
}
"""By modality, the library's method for the embedding of a tower."""


def attach(backbone: nn.Module, embedding: nn.Module) -> nn.Module:
    """Add a module as the backbone's child ``embedding``, and run it in each forward pass, in place.

    embedding: called with what the backbone returns, the attention mask and the length of the prompt, or None for
        either.
    """
    if hasattr(backbone, NAME):
        raise ValueError(f"{type(backbone).__name__} already has a module '{NAME}'")
    backbone.add_module(NAME, embedding)
    backbone.register_forward_pre_hook(_take_inputs, with_kwargs=True)
    pooler = getattr(backbone, "pooler", None)
    if isinstance(pooler, nn.Module) and "hidden_states" in inspect.signature(pooler.forward).parameters:
        # The pooler's tensors are missing in some checkpoints. Its input is the last hidden state.
        runs_early = getattr(embedding, "needs_hidden_states_only", False)
        if runs_early:
            pooler.register_forward_pre_hook(_Before(backbone))
            return backbone
    backbone.register_forward_hook(_run_after)
    return backbone


class _Before:
    """Runs the embedding of a backbone before its pooler."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone

    def __call__(self, pooler: nn.Module, args: tuple[Any, ...]) -> None:
        _run(self.backbone, SimpleNamespace(last_hidden_state=args[0]))


def _take_inputs(
    backbone: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Store the mask and the prompt length for the embedding, and pass on the inputs that the backbone accepts."""
    prompt_length = kwargs.pop(PROMPT_LENGTH, None)
    backbone.embedding.mask_and_prompt_length = (kwargs.get("attention_mask"), prompt_length)  # type: ignore[union-attr]
    return args, kwargs


def _run_after(backbone: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    _run(backbone, output)


def _run(backbone: nn.Module, output: Any) -> None:
    embedding: Any = backbone.embedding
    mask, prompt_length = embedding.mask_and_prompt_length
    embedding.mask_and_prompt_length = (None, None)
    embedding(output, mask, prompt_length)


# ---------------------------------------------------------------- towers


def has_library_embedding(config: Any, modality: str) -> bool:
    """Return whether the library has a method for the embedding of a model in one modality.

    The network is one that compares texts with something else, and has a tower for each. families.toml says which of
    these have no embedding all the same. Or it is one of these towers, which was saved with its projection.
    """
    kind = network_class(config)
    if is_projecting(kind):
        return modality == modality_of(config)
    other_methods = [method for name, method in METHODS.items() if name != "text"]
    is_dual = hasattr(kind, METHODS["text"]) and any(hasattr(kind, method) for method in other_methods)
    is_whole = modality in family(config).get("methods", {})
    return is_dual and (is_whole or hasattr(kind, METHODS[modality])) and family(config).get(NAME, True) is not False


def library_embedding(network: Any, modality: str) -> LibraryEmbedding:
    """Return the embedding of one tower of a network, as the library's own method computes it."""
    return LibraryEmbedding(network, backbone_path(network, modality), _method(network, modality))


def _method(network: Any, modality: str) -> str:
    """Return the name of the method that computes an embedding; of a tower with its projection, its forward pass."""
    return "forward" if is_projecting(type(network)) else METHODS[modality]


def projections(network: Any, modality: str, *, inside: str = "") -> Mapping[str, str]:
    """Return, by its path in the whole network, the path in the backbone of each module that an embedding adds to a
    tower.

    inside: the path of their parent within the module ``embedding``.
    """
    owner = f"{NAME}.{inside}" if inside else NAME
    return {name: f"{owner}.{name}" for name in _used_modules(network, _method(network, modality))}


def _used_modules(network: Any, method: str) -> list[str]:
    """Return the children of a network that one of its methods uses, without the towers."""
    paths = {backbone_path(network, modality) for modality in METHODS}
    return [name for name in _named_modules(network, method) if name not in paths]


def _named_modules(network: Any, method: str) -> list[str]:
    """Return the children of a network that one of its methods uses."""
    names = inspect.unwrap(getattr(type(network), method)).__code__.co_names
    return [name for name in dict.fromkeys(names) if name in network._modules]


def library_method(network: Any, modality: str) -> LibraryMethod | None:
    """Return the backbone of a network whose forward pass is one of its methods; None for any other."""
    method: str | None = family(network.config).get("methods", {}).get(modality)
    return None if method is None else LibraryMethod(network, method)


def method_modules(network: Any, modality: str) -> dict[str, str]:
    """Return, by its path in the whole network, the path of each module in :func:`library_method`."""
    method: str | None = family(network.config).get("methods", {}).get(modality)
    return {} if method is None else {name: name for name in _named_modules(network, method)}


class LibraryMethod(nn.Module):
    """A network whose forward pass is one of the library's methods."""

    def __init__(self, network: Any, method: str) -> None:
        super().__init__()
        self.config = network.config
        self._kind, self._method = type(network), method
        for name in _named_modules(network, method):
            self.add_module(name, getattr(network, name))

    def forward(self, *args: Tensor, **inputs: Tensor) -> Any:
        namespace = SimpleNamespace(config=self.config, **self._modules)
        return getattr(self._kind, self._method)(namespace, *args, **inputs)


class ReturnedEmbedding(nn.Module):
    """Select the embedding that the network itself returns."""

    mask_and_prompt_length: tuple[Tensor | None, Tensor | None] = (None, None)

    def forward(self, output: Any, mask: Tensor | None = None, prompt_length: Tensor | None = None) -> Tensor:
        embedding: Tensor = output.pooler_output
        return embedding


class LibraryEmbedding(nn.Module):
    """Compute the result of a method such as ``get_text_features`` from the output of a tower.

    The method runs on an object whose tower returns the given output.
    """

    mask_and_prompt_length: tuple[Tensor | None, Tensor | None] = (None, None)

    def __init__(self, network: Any, tower: str, method: str) -> None:
        super().__init__()
        self._kind, self._tower, self._method = type(network), tower, method
        self._config = network.config
        for name in _used_modules(network, method):
            self.add_module(name, getattr(network, name))

    def forward(self, output: Any, mask: Tensor | None = None, prompt_length: Tensor | None = None) -> Tensor:
        own = copy.copy(output)  # the method puts the embedding in it

        def tower(*args: Any, **kwargs: Any) -> Any:
            return own

        namespace = SimpleNamespace(config=self._config, **self._modules, **{self._tower: tower})
        method = getattr(self._kind, self._method)
        required = list(inspect.signature(method).parameters.values())[1:]
        inputs = {
            parameter.name: None
            for parameter in required
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        }
        result = method(namespace, **inputs, return_dict=True)
        embedding: Tensor = result[0] if self._method == "forward" else result.pooler_output
        return embedding
