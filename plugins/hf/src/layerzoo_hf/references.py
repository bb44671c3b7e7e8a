"""Check that the files of a model name nothing outside of its repository, and no code.

A configuration is data, but the library resolves some of its values: a backbone in another repository, a kernel of the
hub, a file path, the name of a class. Each of these has a rule here. Hooks have no network access
(:mod:`layerzoo.isolation`), so that references without a rule fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers import FeatureExtractionMixin, ImageProcessingMixin, PreTrainedTokenizerBase
from transformers.video_processing_utils import BaseVideoProcessor

from layerzoo.authoring import check_counts
from layerzoo.errors import MissingLibraryError, OutsideRepositoryError, RepositoryError
from layerzoo.weights import Files
from layerzoo_hf.processor_bounds import check_processor

_PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_TOKENIZERS = ("tokenizer_config.json", "special_tokens_map.json")
_PATH = re.compile(r"[/\\:]")
"""Characters that no name of an architecture has, and every repository, path and URL."""
_SOURCE = re.compile(r"(hf[-_]hub|local[-_]dir):", re.IGNORECASE)
"""How timm marks that the name of an architecture is one of a repository or a folder."""
_PLAIN = re.compile(r"\w*")
"""An implementation of attention that the library itself has. That of a kernel of the hub is ``ORG/REPO:FUNCTION``."""
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation\w*")
_FILE = re.compile(r"(^|_)(files?|paths?|dir|url|repo|repo_id|font|filename)$")
"""How the settings of processors that the library opens or fetches are called."""
_CLASSES: dict[str, tuple[type, ...]] = {
    "tokenizer_class": (PreTrainedTokenizerBase,),
    "image_processor_type": (ImageProcessingMixin, FeatureExtractionMixin, BaseVideoProcessor),
    "feature_extractor_type": (ImageProcessingMixin, FeatureExtractionMixin, BaseVideoProcessor),
    "video_processor_type": (ImageProcessingMixin, FeatureExtractionMixin, BaseVideoProcessor),
}
"""Settings that name a class, which the library looks for among all that it has, and what that must be."""
_TOKENIZER_SETTINGS = {
    "sp_model_kwargs": frozenset({"enable_sampling", "nbest_size", "alpha", "add_bos", "add_eos", "reverse"}),
    "mecab_kwargs": frozenset({"mecab_dic"}),
    "sudachi_kwargs": frozenset({"sudachi_split_mode", "sudachi_dict_type", "trim_whitespace"}),
    "jumanpp_kwargs": frozenset({"trim_whitespace"}),
}
"""Settings that are handed on to what reads a vocabulary, and those of them that name no file and no option of a
command."""
_LIBRARY_ARGUMENTS = frozenset(
    {
        "_commit_hash",
        "cache_dir",
        "code_revision",
        "config",
        "force_download",
        "gguf_file",
        "mistral_format",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "tokenizer_type",
        "use_auth_token",
    }
)
"""Arguments of ``from_pretrained`` that say where files come from or which class reads them."""


def check_files(model: str, files: Files) -> None:
    """Refuse small files that name another repository, a file elsewhere, or code.

    Args:
        model: its id, for messages.
        files: the model's files.
    Raises: OutsideRepositoryError with the reference. A file that is not valid JSON is reported by its reader.
    """
    for name in ("config.json", *_TOKENIZERS, *_PROCESSORS):
        if (path := files.get(name)) is not None:
            _check_file(model, name, path, _state(path), frozenset(files))


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=256)
def _check_file(model: str, name: str, path: Path, state: tuple[int, int], names: frozenset[str]) -> None:
    """Check a file. The result is cached for an unchanged file, because every hook checks it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return
    if name == "config.json":
        check_configuration(model, data)
    _check_classes(model, name, data)
    _check_plain_files(model, name, data)
    if name in _TOKENIZERS:
        _check_tokenizer(model, name, data)
    if name in _PROCESSORS:
        _check_processor(model, name, data, names)


def check_configuration(model: str, data: Any) -> None:
    """Refuse the configuration of a network, as a config.json or the `args` of a declaration have it, that names
    another repository, a file or code, or has counts that exceed any computer's memory.

    Raises: OutsideRepositoryError, TooLargeError; MissingLibraryError for arguments of timm without its plugin.
    """
    check_counts(data, of=model)
    for prefix, mapping in _mappings(data):
        for key, value in mapping.items():
            key_path = f"{prefix}{key}"
            if key == "image_size":
                check_processor(model, {key: value})
            if isinstance(value, str) and _SOURCE.match(value):
                raise outside(model, f"its configuration has `{key_path}`", value)
            is_name = key == "architecture" or (key == "backbone" and not mapping.get("backbone_config"))
            if is_name and isinstance(value, str) and _PATH.search(value):
                raise outside(model, f"its configuration has `{key_path}`", value)
            if key == "model_args" and isinstance(value, dict):
                _check_factory_arguments(model, key_path, value)
            if _IMPLEMENTATION.fullmatch(str(key)):  # the numbers of classes are keys, too
                for implementation in value.values() if isinstance(value, dict) else [value]:
                    if isinstance(implementation, str) and not _PLAIN.fullmatch(implementation):
                        raise outside(model, f"its configuration has `{key_path}`", implementation, "code of the hub")


def _check_factory_arguments(model: str, key_path: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments for timm that define the source of weights. The plugin of timm lists these arguments."""
    try:
        from layerzoo_timm.factory import LOADING_ARGUMENTS
    except ModuleNotFoundError as error:
        if find_spec("timm") is None:
            return  # nothing reads the arguments
        raise MissingLibraryError("layerzoo-timm", needed_by=model) from error
    for name in sorted(LOADING_ARGUMENTS & arguments.keys()):
        if arguments[name] not in (None, False):
            raise outside(model, f"its configuration has `{key_path}.{name}`", arguments[name])


def _check_classes(model: str, file: str, data: Any) -> None:
    for prefix, mapping in _mappings(data):
        for key, bases in _CLASSES.items():
            if isinstance(name := mapping.get(key), str):
                for kind in _library_classes(name):
                    if not (isinstance(kind, type) and issubclass(kind, bases)):
                        raise outside(model, f"its {file} has `{prefix}{key}`", name, "another part of the library")


def _library_classes(name: str) -> Iterator[Any]:
    """Yield the classes to which the library may resolve a name: it adds and removes some suffixes."""
    processor_name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    for variant in dict.fromkeys(
        (
            name,
            name.removesuffix("Fast"),
            f"{name}Fast",
            processor_name,
            f"{processor_name}Fast",
            f"{processor_name}Pil",
        )
    ):
        try:
            kind = getattr(transformers, variant, None)
        except Exception:  # noqa: BLE001 - a class whose library is missing says so when it is made
            continue
        if kind is not None and type(kind).__name__ != "DummyObject":
            yield kind


def _check_plain_files(model: str, file: str, data: Any) -> None:
    """Refuse files outside of the repository among those for other releases, one of which the library opens."""
    names = data if isinstance(data, dict) else {}
    for key in ("configuration_files", "fast_tokenizer_files"):
        for name in names.get(key) or () if isinstance(names.get(key), list) else ():
            if not isinstance(name, str) or _PATH.search(name):
                raise outside(model, f"its {file} has `{key}`", name, "a file elsewhere")


def _check_tokenizer(model: str, file: str, data: Any) -> None:
    if not isinstance(data, dict):
        return
    for key in sorted(_LIBRARY_ARGUMENTS & data.keys() - {"token"}):
        if data[key] not in (None, False):
            raise outside(model, f"its {file} has `{key}`", data[key])
    if any(isinstance(item, str) for item in _listed(data.get("init_inputs"))):
        raise outside(model, f"its {file} has `init_inputs`", data["init_inputs"], "a file elsewhere")
    for key, allowed in _TOKENIZER_SETTINGS.items():
        settings = data.get(key)
        for name, value in settings.items() if isinstance(settings, dict) else ():
            if value is not None and (name not in allowed or (isinstance(value, str) and _PATH.search(value))):
                raise outside(model, f"its {file} has `{key}.{name}`", value, "a file or an option")


def _check_processor(model: str, file: str, data: Any, names: frozenset[str]) -> None:
    for prefix, mapping in _mappings(data):
        check_processor(model, mapping)
        for key, value in mapping.items():
            if isinstance(value, str) and value and _FILE.search(key) and value not in names:
                target = "another repository or a file elsewhere"
                raise outside(model, f"its {file} has `{prefix}{key}`", value, target)


def check_tokenizer_settings(model: str, settings: Mapping[str, Any]) -> None:
    """Refuse arguments for a tokenizer, as sentence-transformers stores them, that define the location of its files.

    Raises: OutsideRepositoryError.
    """
    for key, value in settings.items():
        if value not in (None, False) and (key in _LIBRARY_ARGUMENTS or _FILE.search(key)):
            raise outside(model, f"the settings of its tokenizer have `{key}`", value, "a file elsewhere")
    _check_tokenizer(model, "settings of the tokenizer", dict(settings))


def timm_backbone(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return a configuration in which a backbone of timm has a configuration, or None where there is nothing to change.

    For a name next to `backbone_kwargs` or to ``use_timm_backbone: false``, the library queries the hub for a
    repository of this name, and assumes an architecture of timm if there is none.

    Source: ``consolidate_backbone_kwargs_to_config`` of transformers.backbone_utils.
    """
    name = fields.get("backbone")
    if not isinstance(name, str) or fields.get("backbone_config") or fields.get("model_type") == "timm_backbone":
        return None
    arguments = fields.get("backbone_kwargs") or {}
    if not isinstance(arguments, dict) or (not arguments and fields.get("use_timm_backbone", True)):
        return None
    remaining = {key: value for key, value in fields.items() if key not in ("backbone", "backbone_kwargs")}
    return {**remaining, "backbone_config": {"model_type": "timm_backbone", "backbone": name, **arguments}}


def outside(
    model: str, statement: str, value: Any, target: str = "another repository or a file"
) -> OutsideRepositoryError:
    """Return the error for a reference to something outside of a model's repository."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if len(text) <= 200 else f"{text[:200]}…"
    return OutsideRepositoryError(
        f"{model}: {statement}: {text}, which names {target}. A model's files may name nothing outside of its "
        "repository, which is all that is pinned. Next: a checkpoint that was saved whole (save_pretrained of the "
        "loaded model)",
        reference=text,
    )


def refuse_crowded(model: str, fields: Mapping[str, Any]) -> None:
    """Refuse a configuration of more keys than any has. Raises: RepositoryError."""
    if len(fields) > _MOST_KEYS:
        raise RepositoryError(f"{model}: its config.json has {len(fields):,} keys, and no network has so many settings")


_MOST_KEYS = 10_000


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(data: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping within a JSON value, with the path of its keys. Without recursion: values may be deep."""
    open_values: list[tuple[str, Any]] = [("", data)]
    while open_values:
        prefix, value = open_values.pop()
        if isinstance(value, dict):
            yield prefix, value
            open_values += [
                (f"{prefix}{key}.", child) for key, child in value.items() if isinstance(child, dict | list)
            ]
        elif isinstance(value, list):
            open_values += [(prefix, child) for child in value if isinstance(child, dict | list)]
