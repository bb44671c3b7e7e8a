"""Identify the models of a hub repository by its config.json and the small files next to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from layerzoo.errors import RepositoryError
from layerzoo.spec import MODALITIES, Modality
from layerzoo.weights import Files
from layerzoo_hf.audio import describe_audio
from layerzoo_hf.configuration import has_tower, raise_if_refused, read_config
from layerzoo_hf.embedding import NAME, has_library_embedding
from layerzoo_hf.families import family
from layerzoo_hf.images import describe_images, describe_videos
from layerzoo_hf.library_errors import remote_code
from layerzoo_hf.parts import modality_of, network_class
from layerzoo_hf.sentence_transformers import SentenceEncoder, opened
from layerzoo_hf.static_embedding import described_static
from layerzoo_hf.text import describe_text

_DESCRIBE: dict[Modality, Callable[[Any, Files], dict[str, Any] | None]] = {
    "vision": describe_images,
    "audio": describe_audio,
    "video": describe_videos,
}
"""By modality, what the library's own tokenizer or processor says of the preprocessing."""

UNMADE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError, RuntimeError, AssertionError)
"""What the library raises for files that are not as it wrote them."""
_LONGEST = 400
"""Characters of a message of the library that are repeated: it may hold all of a file."""
_CONFIGURATIONS = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


def identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """Return the models of a repository, the main one first. model: its id.

    Raises: RepositoryError, RemoteCodeError.
    """
    files, encoder = opened(model, files, {})
    if encoder is not None and encoder.is_static:
        return [{"modality": "text", "summary": "StaticEmbedding", **described_static(encoder, files)}]
    if "config.json" not in files:
        return None
    config = read_config(model, files)
    main, *towers = modalities_of(model, config)
    try:
        return [_declared(config, files, main, encoder), *(_tower(config, files, tower, encoder) for tower in towers)]
    except UNMADE as error:
        if any("auto_map" in _json(files.get(name)) for name in _CONFIGURATIONS):
            raise remote_code(model, "its tokenizer or processor is") from error
        reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        message = f"{model}: transformers cannot make the tokenizer or processor that its files describe: {reason}"
        raise RepositoryError(message) from error


def modalities_of(model: str, config: Any) -> list[Modality]:
    """Return the modalities that the network of a configuration takes, the main one first.

    The main modality of a network that compares texts with images or audio (CLIP, CLAP) is not the text.

    Raises: RepositoryError where the library has no base network for it, or that takes something else, or
        families.toml refuses it.
    """
    raise_if_refused(model, config)
    try:
        network = network_class(config)
    except (RepositoryError, ValueError):  # the library lists some classes that do not exist
        message = f"{model}: transformers has no base network for '{config.model_type}', so that nothing can be cut"
        raise RepositoryError(message) from None
    main = modality_of(config)
    if main is None:
        raise RepositoryError(
            f"{model}: a network of type '{config.model_type}' takes {network.main_input_name}, which is not one of "
            f"{', '.join(MODALITIES)}"
        )
    towers = [tower for tower in MODALITIES if tower != main and has_tower(config, tower)]
    compares = main == "text" and hasattr(network, "get_text_features")
    return [*towers, main] if compares else [main, *towers]


def _declared(config: Any, files: Files, modality: Modality, encoder: SentenceEncoder | None) -> dict[str, Any]:
    summary = ", ".join(_networks(config))
    return {"modality": modality, "summary": summary, **described(config, files, modality, encoder)}


def _tower(config: Any, files: Files, modality: Modality, encoder: SentenceEncoder | None) -> dict[str, Any]:
    """Describe a tower other than the main one. An error in its preprocessing is raised when it is loaded."""
    try:
        return _declared(config, files, modality, encoder)
    except (ImportError, RepositoryError, *UNMADE):
        return {"modality": modality}


def described(config: Any, files: Files, modality: Modality, encoder: SentenceEncoder | None = None) -> dict[str, Any]:
    """Return the library's description of a model for a modality, as keys of registry.yaml.

    encoder: the description in the files of sentence-transformers next to the checkpoint.
    """
    preprocess = describe_text(config, files, encoder) if modality == "text" else _DESCRIBE[modality](config, files)
    if modality == "text" and preprocess is not None and encoder is not None and encoder.max_tokens is not None:
        preprocess = preprocess | {"max_tokens": encoder.max_tokens}
    default = default_of(config, modality, encoder)
    if default and default["pool"] == "cls" and modality == "text" and not (preprocess or {}).get("cls_token"):
        default = {**default, "pool": "mean"}  # without a tokenizer it is unknown whether there is such a token
    return {**({"preprocess": preprocess} if preprocess else {}), **({"default": default} if default else {})}


def _networks(config: Any) -> Iterator[str]:
    """Yield the classes that a checkpoint was saved from, and the type."""
    yield from getattr(config, "architectures", None) or ()
    yield f"type {config.model_type}"


def default_of(config: Any, modality: Modality, encoder: SentenceEncoder | None) -> dict[str, str] | None:
    """Return the default layer of a model with an embedding; None for a network without one."""
    has_embedding = encoder is not None and modality in encoder.modalities
    pool = family(config).get("embedding_pool", "mean")
    return {"layer": NAME, "pool": pool} if has_embedding or has_library_embedding(config, modality) else None


def _json(path: Path | None) -> dict[str, Any]:
    """Read a JSON object next to a checkpoint; return an empty one if the file is missing or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (ValueError, OSError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
