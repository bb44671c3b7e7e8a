"""What a repository of the hub is, told from its config.json and the small files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from layerzoo.errors import RepositoryError
from layerzoo.spec import MODALITIES, Modality
from layerzoo.weights import Files
from layerzoo_transformers.audio import describe_audio
from layerzoo_transformers.configuration import SUB_CONFIGS, raise_if_refused, read_config
from layerzoo_transformers.images import describe_images, describe_videos
from layerzoo_transformers.parts import modality_of, network_class
from layerzoo_transformers.plainly import remote_code
from layerzoo_transformers.text import describe_text

_DESCRIBE: dict[Modality, Callable[[Any, Files], dict[str, Any] | None]] = {
    "text": describe_text,
    "vision": describe_images,
    "audio": describe_audio,
    "video": describe_videos,
}
"""By modality, what the library's own tokenizer or processor says of the preprocessing."""

UNMADE = (ValueError, TypeError, KeyError, AttributeError, OSError)
"""What the library raises for files that are not as it wrote them."""
_CONFIGURATIONS = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_POOLING = "1_Pooling/config.json"
_POOLS = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "max": "max",
    "max_tokens": "max",
    "lasttoken": "last",
}
"""Our poolings, by sentence-transformers' words for them."""


def identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """The models that a repository is, the main one first. model: its id.

    Raises: RepositoryError, RemoteCodeError.
    """
    if "config.json" not in files:
        return None
    config = read_config(model, files)
    main, *towers = modalities_of(model, config)
    try:
        return [_declared(config, files, main), *(_tower(config, files, each) for each in towers)]
    except UNMADE as error:
        if any("auto_map" in _json(files.get(name)) for name in _CONFIGURATIONS):
            raise remote_code(model, "its tokenizer or processor is") from error
        told = " ".join(str(error).split())
        message = f"{model}: transformers cannot make the tokenizer or processor that its files describe: {told}"
        raise RepositoryError(message) from error


def modalities_of(model: str, config: Any) -> list[Modality]:
    """What goes into the network of a configuration, and then what goes into one of its towers. A network that compares
    texts with something else (CLIP with pictures, CLAP with sounds) is for that in the first place.

    Raises: RepositoryError where the library has no base network for it, or that takes something else, or
        families.toml refuses it.
    """
    raise_if_refused(model, config)
    try:
        network = network_class(config)
    except (KeyError, ValueError):  # the library lists some that it does not have
        message = f"{model}: transformers has no base network for '{config.model_type}', so that nothing can be cut"
        raise RepositoryError(message) from None
    main = modality_of(config)
    if main is None:
        raise RepositoryError(
            f"{model}: a network of type '{config.model_type}' takes {network.main_input_name}, which is none of "
            f"{', '.join(MODALITIES)}"
        )
    towers = [each for each in MODALITIES if each != main and _has_tower(config, each)]
    compares = main == "text" and hasattr(network, "get_text_features")
    return [*towers, main] if compares else [main, *towers]


def _has_tower(config: Any, modality: Modality) -> bool:
    return getattr(config, SUB_CONFIGS[modality][0], None) is not None


def _declared(config: Any, files: Files, modality: Modality) -> dict[str, Any]:
    summary = ", ".join(_networks(config))
    return {"modality": modality, "summary": summary, **described(config, files, modality)}


def _tower(config: Any, files: Files, modality: Modality) -> dict[str, Any]:
    """A tower beside the main one. What is wrong with its preprocessing is told to those who load it."""
    try:
        return _declared(config, files, modality)
    except (ImportError, RepositoryError, *UNMADE):
        return {"modality": modality}


def described(config: Any, files: Files, modality: Modality) -> dict[str, Any]:
    """What the library knows of a model for a modality, as keys of registry.yaml."""
    preprocess = _DESCRIBE[modality](config, files)
    if modality != "text" or preprocess is None:
        return {} if preprocess is None else {"preprocess": preprocess}
    default = default_of(files)
    return {"preprocess": preprocess | _shorter(preprocess, files), **({"default": default} if default else {})}


def _networks(config: Any) -> Iterator[str]:
    """The classes that a checkpoint was saved from, and the type."""
    yield from getattr(config, "architectures", None) or ()
    yield f"type {config.model_type}"


def default_of(files: Files) -> dict[str, str] | None:
    """The layer and pooling with which sentence-transformers reads a checkpoint; None for one that it has no part in.

    What comes after its pooling (a dense layer, unit length) is no part of the network.
    """
    said = _json(files.get(_POOLING))
    modes = [name.removeprefix("pooling_mode_") for name, value in said.items() if value is True]
    modes += [said["pooling_mode"]] if isinstance(said.get("pooling_mode"), str) else []
    pools = [_POOLS[mode] for mode in modes if mode in _POOLS]
    return {"layer": "final", "pool": pools[0]} if len(pools) == 1 else None


def _shorter(preprocess: dict[str, Any], files: Files) -> dict[str, int]:
    """The number of tokens that sentence-transformers leaves of a text, where the network takes more."""
    limit = _json(files.get("sentence_bert_config.json")).get("max_seq_length")
    return {"max_tokens": limit} if isinstance(limit, int) and 0 < limit < preprocess["max_tokens"] else {}


def _json(path: Path | None) -> dict[str, Any]:
    """A file beside a checkpoint; what is missing, or is no JSON object, says nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (ValueError, OSError):
        return {}
    return said if isinstance(said, dict) else {}
