"""Every base network of the library in its default configuration, as lines of a catalogue.

For nearly every model type the library's documentation names the checkpoint whose configuration the default one
resembles. That is the model's id, and where its weights are. Often they resemble each other in little: the default
configuration of BLOOM has 2 blocks, the checkpoint named 70. So the size and the layers of the default configuration
are said of a checkpoint only where its name states a size that agrees. Else the checkpoint is listed without them, and
the default configuration as an architecture without weights, called as its type is.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from functools import partial
from typing import Any

from transformers import CONFIG_MAPPING, TOKENIZER_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from layerzoo.errors import RepositoryError
from layerzoo.spec import Modality
from layerzoo.weights import Files
from layerzoo_hf.configuration import SUB_CONFIGS
from layerzoo_hf.identify import UNMADE, default_of, described, modalities_of
from layerzoo_hf.library_errors import quiet
from layerzoo_hf.parts import network_class
from layerzoo_hf.stated import stated_params
from layerzoo_hf.tasks import languages_of, tasks_of

_DOCUMENTED = re.compile(
    r"similar\s+configuration\s+to\s+that\s+of\s+the\b.*?\[[^\]]*\]\(https://huggingface\.co/([\w.-]+/[\w.-]+)\)",
    re.DOTALL,
)
"""How the documentation of a configuration names a checkpoint."""

Row = dict[str, Any]


def models() -> dict[str, list[Row]]:
    """Return one model for each model type, and for each tower of a type under ``TYPE:MODALITY``.

    A checkpoint that several types name belongs to one of them; the others are architectures without weights under the
    name of their type. A type that is a tower of another type is an alias of that tower. A type that takes neither
    text, images, audio nor video is excluded.
    """
    with quiet():
        documented = documented_checkpoints()
        owned = _owned(documented)
        towers = dict(_towers(owned, documented))
        return {
            name: [row]
            for model_type in sorted(MODEL_MAPPING_NAMES.keys() - towers.keys())
            for name, row in _rows(model_type, owned.get(model_type), towers)
        }


def documented_checkpoints() -> dict[str, str]:
    """Return, by model type, the checkpoint that the library's documentation names for the default configuration."""
    documentation = {name: inspect.getdoc(CONFIG_MAPPING[name]) or "" for name in MODEL_MAPPING_NAMES}
    return {name: match[1] for name, text in documentation.items() if (match := _DOCUMENTED.search(text))}


def _owned(documented: Mapping[str, str]) -> dict[str, str]:
    """Return the checkpoint of each type that no other type has.

    If several types have the same checkpoint, it belongs to the whole and not to a part, and among wholes to the type
    that makes up most of its name.
    """
    types = defaultdict(set)
    for model_type, checkpoint in documented.items():
        types[checkpoint].add(model_type)
    owners = {}
    for checkpoint, names in types.items():
        parts = {part for name in names for part in _parts(name)}
        owners[max(sorted(names - parts or names), key=partial(_likeness, checkpoint))] = checkpoint
    return owners


def _parts(model_type: str) -> set[str]:
    """Return the model types of the parts of a network of this type."""
    return {getattr(part, "model_type", "") for part in CONFIG_MAPPING[model_type].sub_configs.values()}


def _likeness(checkpoint: str, model_type: str) -> tuple[float, int]:
    """Return the share of a type's letters that occur in the name of a checkpoint; a shorter type wins a tie."""
    name, checkpoint_name = (
        re.sub(r"[^a-z0-9]", "", text.lower()) for text in (model_type, checkpoint.partition("/")[2])
    )
    blocks = SequenceMatcher(None, name, checkpoint_name, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(name), -len(name)


def _towers(owned: Mapping[str, str], documented: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return the types that are a tower of the network of their checkpoint, with the name of the tower."""
    for model_type, checkpoint in owned.items():
        config = AutoConfig.for_model(model_type)
        for modality, name in _tower_names(model_type, config):
            tower: str = getattr(getattr(config, SUB_CONFIGS[modality][0], None), "model_type", "")
            if documented.get(tower) == checkpoint and tower != model_type:
                yield tower, name


def _tower_names(model_type: str, config: Any) -> Iterator[tuple[Modality, str]]:
    """Yield each modality that a network takes, and the name of its tower.

    Nothing is yielded if the network takes something else, or requires a package that is not installed.
    """
    try:
        modalities = modalities_of(model_type, config)
    except (RepositoryError, ImportError):
        return
    for at, modality in enumerate(modalities):
        yield modality, model_type if at == 0 else f"{model_type}:{modality}"


def _rows(model_type: str, checkpoint: str | None, towers: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    config = AutoConfig.for_model(model_type)
    for modality, name in _tower_names(model_type, config):
        own_names = [] if checkpoint is None else [name]
        kind = network_class(config).__name__
        row: Row = {
            "id": f"{checkpoint or model_type}{name.removeprefix(model_type)}",
            "aliases": [*own_names, *(tower for tower, parent in towers.items() if parent == name)],
            "modality": modality,
            "builder": "transformers",
            "args": {"model_type": model_type},
            "summary": f"{kind}, in the library's default configuration",
            "tasks": None if checkpoint is None else tasks_of(model_type),
            "languages": None if checkpoint is None else languages_of(f"{checkpoint}{name.removeprefix(model_type)}"),
            "weights": None if checkpoint is None else f"hf://{checkpoint}",
            "preprocess": _preprocess(config, modality),
            "published": None if checkpoint is None else _published(checkpoint, kind),
            "default": default_of(config, modality, None),
        }
        yield name, {key: value for key, value in row.items() if value}


def _published(checkpoint: str, kind: str) -> dict[str, Any]:
    """Return the summary and the plausible size of a checkpoint, which are read from its name."""
    published: dict[str, Any] = {"summary": f"{kind}, size unknown until inspected"}
    if params := stated_params(checkpoint):
        published["params"] = list(params)
    return published


def _preprocess(config: Any, modality: Modality) -> dict[str, Any] | None:
    """Return the preprocessing of the library's default processor for the type.

    None if the processor requires a checkpoint, or a package that is not installed.
    """
    try:
        preprocess: dict[str, Any] | None = described(config, Files(), modality).get("preprocess")
    except (ImportError, RepositoryError, *UNMADE):
        return None
    if preprocess is not None and modality == "text":
        return {**preprocess, "cls_token": _starts_with_cls(config)}
    return preprocess


def _starts_with_cls(config: Any) -> bool:
    """Return whether a tokenizer of the type, with an empty vocabulary, prepends a classification token."""
    kind = TOKENIZER_MAPPING.get(type(config), None)
    try:
        tokenizer = kind()
        token: int | None = tokenizer.cls_token_id
        return token is not None and list(tokenizer("")["input_ids"])[:1] == [token]
    except (TypeError, ValueError, OSError, AttributeError, ImportError):
        return False  # it needs a vocabulary, or there is none
