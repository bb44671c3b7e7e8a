"""The configuration that a network is built from, and the configuration of the part for a modality."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, __version__
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from layerzoo.authoring import nearest, nearest_hint
from layerzoo.errors import RepositoryError
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo_hf.families import family
from layerzoo_hf.library_errors import remote_code
from layerzoo_hf.modules import config_changes
from layerzoo_hf.references import check_configuration, refuse_crowded, timm_backbone

_ATTENTIONS = (None, "eager", "sdpa")
"""What torch alone can compute."""
_LONGEST = 400
"""Characters of a message of the library that are repeated: it may hold all of a file."""

SUB_CONFIGS = {
    "text": ("text_config",),
    "vision": ("vision_config", "image_config"),
    "audio": ("audio_config", "encoder_config"),
    "video": ("video_config", "vision_config"),
}
"""By modality, what the part for it is called in the configuration of a network of several."""

_OF_TOWERS = {
    "text": ("text_config",),
    "vision": ("vision_config", "image_config"),
    "audio": ("audio_config",),
    "video": ("video_config",),
}
"""By modality, what the configuration of a tower is called, where no other modality has one of that name."""


def has_tower(config: Any, modality: str) -> bool:
    """Return whether a network has a tower for a modality. families.toml lists towers with unusual names."""
    declared: list[str] | None = family(config).get("towers")
    if declared is not None:
        return modality in declared
    return any(getattr(config, name, None) is not None for name in _OF_TOWERS[modality])


def config_of(spec: ModelSpec, files: Files) -> Any:
    """Return the configuration of the whole network, as its type and its checkpoint have it."""
    if "model_type" in spec.args:
        arguments = spec.args.to_dict()
        fields = arguments.get("config", {})
        check_configuration(spec.id, fields)
        config = AutoConfig.for_model(arguments["model_type"], **(timm_backbone(fields) or fields))
        _use_own_attention(config)
    else:
        config = read_config(spec.id, files)
    raise_if_refused(spec.id, config)
    for name, value in family(config).get("config", {}).items():
        setattr(config, name, value)
    return config


def raise_if_refused(model: str, config: Any) -> None:
    """Raises: RepositoryError for a type that families.toml refuses: it would run, with wrong results."""
    if reason := family(config).get("refused"):
        raise RepositoryError(f"{model}: {reason}")


def read_config(model: str, files: Files) -> Any:
    """Read the configuration next to a checkpoint. model: the model's id, for messages.

    Raises: RepositoryError for one that is not valid JSON, or that the library does not know or cannot interpret;
        RemoteCodeError for one of a network that code in the repository defines; WeightsError where there is none.
    """
    data = _config_data(model, files["config.json"])
    refuse_crowded(model, data)
    check_configuration(model, data)
    name, own_code = data.get("model_type"), data.get("auto_map")
    if name is not None and (not isinstance(name, str) or name not in CONFIG_MAPPING):
        raise remote_code(model, f"its network, of type '{name}', is defined by") if own_code else _unknown(model, name)
    if name is None and "architecture" in data:
        raise RepositoryError(
            f"{model}: its config.json is timm's, for the architecture '{data['architecture']}'. Next, with the "
            f"plugin timm: timm/{model.partition('/')[2]}"
        )
    if own_code:
        _tell_own_code(model, str(name))
    try:
        changes = config_changes(model, files)
        check_configuration(model, changes)
        config = _from_file(files["config.json"], timm_backbone(data), changes)
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, StrictDataclassError) as error:
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)[:_LONGEST]
        message = f"{model}: transformers {__version__} cannot make sense of its config.json: {reason}"
        raise RepositoryError(message) from error
    _use_own_attention(config)
    return config


def _from_file(path: Path, changed: dict[str, Any] | None, settings: dict[str, Any]) -> Any:
    """Return the library's configuration of a file.

    Args:
        path: the config.json.
        changed: read in place of the file; None for the file itself.
        settings: applied afterwards.
    """
    if changed is None:
        return AutoConfig.from_pretrained(path, trust_remote_code=False, **settings)
    with tempfile.TemporaryDirectory(prefix="layerzoo-") as folder:
        copied = Path(folder) / "config.json"
        copied.write_text(json.dumps(changed), encoding="utf-8")
        return AutoConfig.from_pretrained(copied, trust_remote_code=False, **settings)


def _use_own_attention(config: Any) -> None:
    """Remove an implementation of attention that requires a further library or a kernel: layerzoo chooses the
    implementation, not the checkpoint."""
    parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
    for part in (config, *parts):
        if isinstance(part, PreTrainedConfig) and getattr(part, "_attn_implementation", None) not in _ATTENTIONS:
            part._attn_implementation = None


def _config_data(model: str, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{model}: its config.json is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise RepositoryError(f"{model}: its config.json is not a JSON object, but {type(data).__name__}")
    return data


def _unknown(model: str, name: Any) -> RepositoryError:
    close = nearest(str(name), list(CONFIG_MAPPING_NAMES))
    return RepositoryError(
        f"{model}: its config.json names the type '{name}', which transformers {__version__} does not know. "
        f"{nearest_hint(close)}Next: pip install -U transformers, where a newer one does"
    )


@cache
def _tell_own_code(model: str, name: str) -> None:
    """Log the warning once per process."""
    message = "%s: the code in its repository is not run; its network is transformers' own of type '%s'"
    logging.getLogger("layerzoo").warning(message, model, name)


def read_json(path: Path | None) -> dict[str, Any]:
    """Return a JSON object that is kept next to a checkpoint; an empty one without such a file or object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (ValueError, OSError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def without_cache(config: Any) -> Any:
    """Return a copy of a configuration in which the key-value cache is off, in every part: no text is generated."""
    config = copy.deepcopy(config)
    for part in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        if getattr(part, "use_cache", None):
            part.use_cache = False
    return config


def sub_config(config: Any, modality: str) -> Any:
    """Return the configuration of the part for a modality; the whole configuration if there is no such part."""
    candidates = (getattr(config, name, None) for name in SUB_CONFIGS[modality])
    return next((part for part in candidates if isinstance(part, PreTrainedConfig)), config)


def image_size_of(config: Any, modality: str) -> tuple[int, int] | None:
    """Return the height and width that a network requires; None if it accepts any."""
    size = getattr(sub_config(config, modality), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None
