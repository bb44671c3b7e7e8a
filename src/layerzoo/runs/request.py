"""The arguments of an extraction as JSON, so that another process, or a later one, can prepare it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.runtime.extraction import PreparedExtraction

_OF_LOAD = (*("layer", "pool", "weights", "device", "precision", "trust_declaration", "partial", "allow_pickle"),)
"""The arguments of :func:`layerzoo.load`; all others are those of an extraction."""


def arguments_of(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as JSON holds them.

    Args:
        model: the id of the model.
        options: arguments of :func:`layerzoo.load` and :func:`layerzoo.extract` by name.
    """
    arguments = {name: _json_value(value) for name, value in options.items() if value is not None}
    if "weights" in arguments and os.path.exists(arguments["weights"]):  # noqa: PTH110
        arguments["weights"] = os.path.abspath(arguments["weights"])  # noqa: PTH100
    of_load, of_extract = divided(arguments)
    return {"model": model, "load": of_load, "extract": of_extract}


def divided(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of :func:`layerzoo.load`, and those of an extraction with its result."""
    of_load = {name: value for name, value in options.items() if name in _OF_LOAD}
    return of_load, {name: value for name, value in options.items() if name not in _OF_LOAD}


def prepared(arguments: Mapping[str, Any]) -> PreparedExtraction:
    """Load the model and prepare the extraction. Raises: as :func:`layerzoo.extract`."""
    from layerzoo.runtime import load
    from layerzoo.runtime.extraction import prepare

    backbone = load(arguments["model"], **arguments["load"])
    return prepare(backbone, errors="skip", **arguments["extract"])


def on_own_device(arguments: Mapping[str, Any], worker: int, workers: int) -> Mapping[str, Any]:
    """Return arguments with the device of one worker, where several share several devices.

    Args:
        arguments: of the run. Its device may be a list; ``cuda`` means all GPUs of this machine.
        worker: the number of the worker, from 0.
        workers: the number of all.
    """
    device = arguments["load"].get("device", "cpu")
    if workers == 1 or not (isinstance(device, list) or device == "cuda"):
        return arguments
    devices = device if isinstance(device, list) else _gpus()
    own = devices[worker % len(devices)] if devices else device
    return {**arguments, "load": {**arguments["load"], "device": own}}


def _gpus() -> list[str]:
    from layerzoo.runtime.devices import gpus

    return gpus()


def _json_value(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
