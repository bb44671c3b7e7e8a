"""The library's processor for a model: the one that its files configure, else the one of its architecture."""

from __future__ import annotations

import inspect
from typing import Any

import transformers
from transformers import AutoFeatureExtractor
from transformers.models.auto.configuration_auto import (
    CONFIG_MAPPING,
    CONFIG_MAPPING_NAMES,
    model_type_to_module_name,
)

from layerzoo.weights import Files
from layerzoo_hf.configuration import sub_config
from layerzoo_hf.families import family


def library_processor(config: Any, files: Files, mapping: Any, auto: Any) -> Any:
    """Load the processor next to a checkpoint, or make the one of the architecture's published checkpoints.

    Args:
        config: the configuration of the whole network.
        files: the model's files.
        mapping: the library's mapping from configuration classes to processor classes.
        auto: the library's class that loads such a processor, such as ``AutoImageProcessor``.
    Returns: None if the library has no processor for this type.
    """
    if "preprocessor_config.json" in files:
        folder = files["preprocessor_config.json"].parent
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    class_name = family(config).get("features" if auto is AutoFeatureExtractor else "images")
    kind = default_class(config, mapping) if class_name is None else getattr(transformers, class_name)
    if kind is None:
        return None
    parameters = inspect.signature(kind.__init__).parameters
    bins = getattr(sub_config(config, "audio"), "num_mel_bins", None)
    usual = {name: bins for name in ("feature_size", "num_mel_bins") if bins is not None and name in parameters}
    return kind(**usual, **(family(config).get("extractor", {}) if auto is AutoFeatureExtractor else {}))


def default_class(config: Any, mapping: Any) -> Any:
    """Return the processor class of an architecture, on the PIL backend where it has one; None where it has none.

    A tower of a network has none. Then the class of a type in the same module is returned.
    """
    home = model_type_to_module_name(config.model_type)
    siblings = [name for name in CONFIG_MAPPING_NAMES if model_type_to_module_name(name) == home]
    for kind in (type(config), *(CONFIG_MAPPING[name] for name in siblings)):
        if kind in mapping:
            processors = mapping[kind]
            return (
                (processors.get("pil") or next(iter(processors.values())))
                if isinstance(processors, dict)
                else processors
            )
    return None
