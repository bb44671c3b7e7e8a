"""The arguments of timm's factory that are not those of a network."""

from __future__ import annotations

__all__ = ["LOADING_ARGUMENTS", "WRAPPING_ARGUMENTS"]

LOADING_ARGUMENTS = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "feature_cfg",
        "feature_cls",
        "kwargs_filter",
        "model_cfg",
        "model_cls",
        "model_name",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_filter_fn",
        "pretrained_model_args",
        "pretrained_strict",
        "variant",
    }
)
"""Arguments of ``timm.create_model`` and ``build_model_with_cfg`` that define where weights come from, how they are
loaded, or which code creates the network. The plugin hf refuses them in configurations, too."""
WRAPPING_ARGUMENTS = frozenset({"features_only", "out_indices"})
"""Arguments with which timm returns another module around the network."""
