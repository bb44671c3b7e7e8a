"""Small configurations: the same architecture with fewer and narrower layers, made of a default one by the names of
its fields.

Whatever is a width is divided by one number, so that what must fit together still does; what counts layers, experts
or tokens is cut down. Fields that no rule knows stay as they are.
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
"""By a regular expression for the name of a field, what it is cut down to."""

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
    """How small.

    width: what every width is divided by.
    rows: fields that are set as they are, by name; a mapping goes into the configuration of a part.
    """

    width: int = 16
    layers: int = LAYERS
    side_px: int | None = 128
    """About how high and wide pictures are; None: as they are."""
    rows: Mapping[str, Any] = field(default_factory=dict)


def small(config: Mapping[str, Any], shrink: Shrink) -> dict[str, Any]:
    """The arguments that make a configuration small. config: its plain form, all values default."""
    if "depths" in config:  # what counts layers counts stages there
        shrink = replace(shrink, layers=LAYERS)
    vocabulary = next(
        (value for name, value in config.items() if name == "vocab_size" and isinstance(value, int)), None
    )
    layers = _own_layers(config)
    part = replace(shrink, rows={})
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name == "image_size" and shrink.side_px is not None:
            found[name] = _side(value, config.get("patch_size"), shrink.side_px)
            continue
        if isinstance(value, Mapping):
            if "model_type" in value:
                found[name] = {**_own(value), **small(value, part)}
            elif any(key.endswith("section") for key in value if isinstance(key, str)):  # rotary angles, by direction
                found[name] = {**value, **small(value, part)}
            continue
        made = _made(name, value, shrink, layers, vocabulary)
        if made is not None and made != value:
            found[name] = made
    found |= _fitting_heads({**config, **found})
    return merged(found, shrink.rows)


def _fitting_heads(config: Mapping[str, Any]) -> dict[str, Any]:
    """As many heads as divide the width, where they share it."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not (isinstance(width, int) and isinstance(heads, int)) or config.get("head_dim") or width % heads == 0:
        return {}
    fewer = gcd(width, heads)
    return {name: fewer for name in ("num_attention_heads", "num_key_value_heads") if isinstance(config.get(name), int)}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping over another, at every depth. What is None above is left out."""
    found = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            found[name] = merged(found[name], value)
        elif value == "default":
            found.pop(name, None)
        else:
            found[name] = value
    return found


def _own(part: Mapping[str, Any]) -> dict[str, Any]:
    """In what the configuration of a part is unlike the default one of its type, which it names."""
    try:
        usual = AutoConfig.for_model(part["model_type"]).to_dict()
    except (KeyError, ValueError):  # a part that is no model type of its own
        usual = {}
    unlike = {name: value for name, value in part.items() if name in usual and value != usual[name]}
    unlike.pop("num_labels", None)  # follows from the names of labels
    return {**unlike, "model_type": part["model_type"]}


def _side(value: Any, patch: Any, side_px: int) -> Any:
    """A smaller side of a picture, of whole patches; both sides alike."""
    if isinstance(value, list | tuple):
        return [_side(each, patch, side_px) for each in value]
    if not isinstance(value, int) or value <= 2 * side_px:
        return value
    step = patch if isinstance(patch, int) else 32
    return step * 8 if side_px % step else side_px


def _own_layers(config: Mapping[str, Any]) -> int | None:
    names = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth")
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _made(name: str, value: Any, shrink: Shrink, layers: int | None, vocabulary: int | None) -> Any:
    if isinstance(value, bool) or value is None:
        return None
    if _TOKEN.fullmatch(name) and isinstance(value, int) and vocabulary is not None:
        return value if value < _VOCABULARY else _VOCABULARY - 1 - value % 97
    if isinstance(value, int):
        for pattern, most in _COUNTS.items():
            if re.fullmatch(pattern, name) and "feat_extract" not in name:
                return min(value, shrink.layers if most == LAYERS else most)
        return _narrow(value, shrink.width) if _is_width(name) else None
    if isinstance(value, list | tuple) and value:
        return _made_list(name, value, shrink, layers)
    return None


def _made_list(name: str, value: list[Any] | tuple[Any, ...], shrink: Shrink, layers: int | None) -> Any:
    if layers is not None and layers > shrink.layers and len(value) == layers:
        half = shrink.layers // 2  # the first are often unlike the others, and the last ends a period
        return [*value[:half], *value[len(value) - (shrink.layers - half) :]]
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return None
    for pattern, most in _COUNTS.items():
        if re.fullmatch(pattern, name):
            return [min(item, most) for item in value]
    if name.endswith("section"):
        return _sections(value, sum(value) // shrink.width)
    if re.search(r"(layer|block)_?(indexes|indices|idx)|_indexes|layers$|block_indexes", name) and layers is not None:
        return sorted({min(item, shrink.layers - 1) for item in value})
    return [_narrow(item, shrink.width) for item in value] if _is_width(name) else None


def _sections(sizes: Sequence[int], total: int) -> list[int]:
    """Sections in about the same proportions that add up to ``total``; none is empty, if there is enough for all."""
    shares = [max(1, size * total // sum(sizes)) for size in sizes]
    shares[0] = max(1, total - sum(shares[1:]))
    return shares


def _is_width(name: str) -> bool:
    return bool(_WIDTH.fullmatch(name)) and not _NO_WIDTH.fullmatch(name)


def _narrow(value: int, divisor: int) -> int:
    return value // divisor if value >= 2 * divisor and value % divisor == 0 else value
