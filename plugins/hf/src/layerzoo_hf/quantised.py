"""Quantised checkpoints: transformers dequantises them while it loads, or they are refused."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection
from typing import Any

from transformers.quantizers import AutoHfQuantizer, AutoQuantizationConfig
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from layerzoo.authoring import is_packed
from layerzoo.errors import WeightsError


def dequantising(config: Any) -> Any:
    """Return a configuration with which transformers dequantises the weights of a checkpoint while it loads them.

    config: of a network whose ``quantization_config`` says how its checkpoint was quantised.
    Raises: ImportError for a package that the method requires; WeightsError where the library knows no such method, or
        runs it only with quantised weights.
    """
    quantization = config.quantization_config
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    method = settings.get("quant_method") or "unknown"
    _require_option(config, method)
    try:
        quantisation = AutoQuantizationConfig.from_dict(dict(settings))
        quantisation.dequantize = True
        quantiser = AutoHfQuantizer.from_config(quantisation, pre_quantized=True)
        quantiser.validate_environment(device_map=None)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise _refused(config, method, f": {error}") from error
    if "dequantize" not in quantiser.get_load_operations():
        raise _refused(config, method, _NOT_DEQUANTISED)
    config = copy.deepcopy(config)
    config.quantization_config = {**settings, "dequantize": True}
    return config


def _require_option(config: Any, method: str) -> None:
    """Refuse a method that transformers supports only with quantised weights, before it requires the method's package.

    method: as the configuration names it. Raises: WeightsError.
    """
    names = [name for name in AUTO_QUANTIZATION_CONFIG_MAPPING if name == method or name.startswith(f"{method}_")]
    kinds = [AUTO_QUANTIZATION_CONFIG_MAPPING[name] for name in names]
    if kinds and not any("dequantize" in inspect.signature(kind).parameters for kind in kinds):
        raise _refused(config, method, _NOT_DEQUANTISED)


_NOT_DEQUANTISED = ", which transformers does not dequantise while it loads"


def undequantised(config: Any, names: Collection[str]) -> WeightsError:
    """Return the error for a checkpoint that transformers cannot dequantise.

    names: the keys of the checkpoint.
    """
    packed = [name for name in names if is_packed(name)]
    listed = ", ".join(f"'{name}'" for name in packed[:2]) or "its quantised tensors"
    settings = config.quantization_config
    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    reason = f", and transformers cannot dequantise {listed}: what belongs to them is missing, or of another shape"
    return _refused(config, str(method or "an unknown method"), reason)


def without_quantisation(config: Any) -> Any:
    """Return a copy of a configuration without its quantisation."""
    if getattr(config, "quantization_config", None) is None:
        return config
    config = copy.deepcopy(config)
    del config.quantization_config
    return config


def _refused(config: Any, method: str, reason: str) -> WeightsError:
    return WeightsError(
        f"a checkpoint of type {config.model_type} is quantised with {method}{reason}. Next: save it "
        "dequantised, as float32 or bfloat16, with the library that quantised it"
    )
