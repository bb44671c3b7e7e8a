"""Derive a small configuration from a default one: the same architecture with fewer and narrower layers.

Rules recognise fields by their names. All widths are divided by one number, so that they still fit together. Numbers of
layers, experts and tokens are limited. Fields that no rule matches keep their values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

from transformers import AutoConfig

LAYERS = 4
_VOCABULARY = 640
_POSITIONS = 512

_COUNTS: dict[str, int] = {
    r"(num_|n_|encoder_|decoder_)?(hidden_)?(layers?|blocks|depth)(_per_.*|_count)?|n_layers?|depth|.*_num_hidden_layers"
    r"|num_(encoder|decoder|.*)_(layers|blocks)|(encoder|decoder|.*)_(n_layers?|layers|depth|num_layers)": LAYERS,
    r"depths|stage_num_blocks|num_block_repeats|blocks_per_stage|layers_per_.*|num_conv_layers|stage_numb_of_layers": 2,
    r"(num_|n_)?(local_|routed_)?experts|moe_num_experts|n_routed_experts|num_.*_experts": 4,
    r"num_experts_per_tok(en)?|num_selected_experts|moe_top_?k|moe_k|top_k": 2,
    r"n_group|topk_group|num_expert_groups?": 1,
    r"(.*_)?vocab_size|.*vocab_size_per_layer_input": _VOCABULARY,
    r"max_position_embeddings|n_positions|max_sequence_length|max_seq_len|n_ctx|max_target_positions": _POSITIONS,
    r"num_queries|num_denoising|num_object_queries": 20,
    r"num_frames|frames_per_clip": 8,
}
"""By a regular expression for the name of a field, its limit."""

_WIDTH = re.compile(
    r".*(hidden|intermediate|embed|embd|channels?|filters|rank|inner|ffn|mlp|conv_dim|d_model|d_ff|d_kv|d_inner"
    r"|units|width|feature_projection|state_size_|classifier_proj).*"
    r"|(.*_)?(dim|dims|head_dim|size_per_head|features|d_head|adapter_input_size|head_size|output_dim|latent_dim|dim_head|n_inner)"
    r"|pooler_output_size|upsample_groups"
)
_NO_WIDTH = re.compile(
    r".*(vocab|patch|image_size|kernel|window|chunk|num_|max_|n_layer|stride|token|position_embeddings|positions"
    r"|ratio|factor|layers|(?<!upsample_)groups|heads|index|theta|scale|std|bins|freq|dropout|act|type|num_channels|in_chans|size_divisor"
    r"|depth|temporal|feat_extract|input_channels|mult|range|eps|prob|loss|weight|rel_|position).*"
    r"|(num_)?channels|in_channels_rgb|audio_channels|n_channels|input_feat_size|feature_size"
)
_TOKEN = re.compile(r".*_token_(id|index)|pad_token|.*_index")


@dataclass(frozen=True, slots=True)
class Shrink:
    """The size of a small configuration.

    width: the divisor of every width.
    layers: the number of layers.
    rows: fields that are set to given values, by name; a mapping applies to the configuration of a part.
    """

    width: int = 16
    layers: int = LAYERS
    side_px: int | None = 128
    """Approximate height and width of images; None keeps the default."""
    rows: Mapping[str, Any] = field(default_factory=dict)


def small(config: Mapping[str, Any], shrink: Shrink) -> dict[str, Any]:
    """Return the fields that make a configuration small. config: the default configuration as a dictionary."""
    if "depths" in config:  # the number of layers is the number of stages there
        shrink = replace(shrink, layers=LAYERS)
    vocabulary = next(
        (value for name, value in config.items() if name == "vocab_size" and isinstance(value, int)), None
    )
    layers = _number_of_layers(config)
    part = replace(shrink, rows={})
    fields: dict[str, Any] = {}
    for name, value in config.items():
        if name == "image_size" and shrink.side_px is not None:
            fields[name] = _side(value, config.get("patch_size"), shrink.side_px)
            continue
        if isinstance(value, Mapping):
            if "model_type" in value:
                fields[name] = {**_changed_fields(value), **small(value, part)}
            elif any(key.endswith("section") for key in value if isinstance(key, str)):  # rotary angles by direction
                fields[name] = {**value, **small(value, part)}
            continue
        smaller = _smaller(name, value, shrink, layers, vocabulary)
        if smaller is not None and smaller != value:
            fields[name] = smaller
    fields |= _fitting_heads({**config, **fields})
    return merged(fields, shrink.rows)


def _fitting_heads(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a number of heads that divides the width, for attention that splits the width among its heads."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not (isinstance(width, int) and isinstance(heads, int)) or config.get("head_dim") or width % heads == 0:
        return {}
    fewer = gcd(width, heads)
    return {name: fewer for name in ("num_attention_heads", "num_key_value_heads") if isinstance(config.get(name), int)}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings recursively. The second takes precedence; its value "default" removes a key."""
    result = dict(base)
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            result[name] = merged(result[name], value)
        elif value == "default":
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _changed_fields(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields in which the configuration of a part differs from the default of its model type."""
    try:
        default = AutoConfig.for_model(part["model_type"]).to_dict()
    except (KeyError, ValueError):  # the part is not a separate model type
        default = {}
    changed = {name: value for name, value in part.items() if name in default and value != default[name]}
    changed.pop("num_labels", None)  # follows from the names of labels
    return {**changed, "model_type": part["model_type"]}


def _side(value: Any, patch: Any, side_px: int) -> Any:
    """Return a smaller image side that is a multiple of the patch size. A pair is changed element by element."""
    if isinstance(value, list | tuple):
        return [_side(side, patch, side_px) for side in value]
    if not isinstance(value, int) or value <= 2 * side_px:
        return value
    step = patch if isinstance(patch, int) else 32
    return step * 8 if side_px % step else side_px


def _number_of_layers(config: Mapping[str, Any]) -> int | None:
    names = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth")
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _smaller(name: str, value: Any, shrink: Shrink, layers: int | None, vocabulary: int | None) -> Any:
    if isinstance(value, bool) or value is None:
        return None
    if _TOKEN.fullmatch(name) and isinstance(value, int) and vocabulary is not None:
        return value if value < _VOCABULARY else _VOCABULARY - 1 - value % 97
    if isinstance(value, int):
        for pattern, limit in _COUNTS.items():
            if re.fullmatch(pattern, name) and "feat_extract" not in name:
                return min(value, shrink.layers if limit == LAYERS else limit)
        return _narrow(value, shrink.width) if _is_width(name) else None
    if isinstance(value, list | tuple) and value:
        return _smaller_list(name, value, shrink, layers)
    return None


def _smaller_list(name: str, value: list[Any] | tuple[Any, ...], shrink: Shrink, layers: int | None) -> Any:
    if layers is not None and layers > shrink.layers and len(value) == layers:
        half = shrink.layers // 2  # the first often differ from the others, and the last ends a period
        return [*value[:half], *value[len(value) - (shrink.layers - half) :]]
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return None
    for pattern, limit in _COUNTS.items():
        if re.fullmatch(pattern, name):
            return [min(item, limit) for item in value]
    if name.endswith("section"):
        return _sections(value, sum(value) // shrink.width)
    if re.search(r"(layer|block)_?(indexes|indices|idx)|_indexes|layers$|block_indexes", name) and layers is not None:
        return sorted({min(item, shrink.layers - 1) for item in value})
    return [_narrow(item, shrink.width) for item in value] if _is_width(name) else None


def _sections(sizes: Sequence[int], total: int) -> list[int]:
    """Return sections in about the same proportions with the sum ``total``, each at least 1 if possible."""
    shares = [max(1, size * total // sum(sizes)) for size in sizes]
    shares[0] = max(1, total - sum(shares[1:]))
    return shares


def _is_width(name: str) -> bool:
    return bool(_WIDTH.fullmatch(name)) and not _NO_WIDTH.fullmatch(name)


def _narrow(value: int, divisor: int) -> int:
    return value // divisor if value >= 2 * divisor and value % divisor == 0 else value
