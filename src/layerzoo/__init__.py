"""One zoo for every backbone. Name a model and a layer; get a feature matrix.

    spec = layerzoo.model("starter/minilm-l6")
    features = layerzoo.extract("starter/minilm-l6", ["a fine film", "a waste of time"], layer="block.2")
    features.values                       # (2, 384) float32

Importing this package imports neither torch nor any model library; what needs them brings them in when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.adapters.embedder import Embedder
    from layerzoo.errors import LayerzooError
    from layerzoo.features import Features, FeatureWriter
    from layerzoo.media.audio_input import Audio
    from layerzoo.plugins.hookspecs import hookimpl
    from layerzoo.registry import model, models
    from layerzoo.runs import run
    from layerzoo.runtime import Backbone, Batch, build, extract, load, stream, wrap
    from layerzoo.spec import Layer, ModelSpec
    from layerzoo.sweeps import Sweep, sweep

__all__ = [
    "Audio",
    "Backbone",
    "Batch",
    "Embedder",
    "FeatureWriter",
    "Features",
    "Layer",
    "LayerzooError",
    "ModelSpec",
    "Sweep",
    "build",
    "extract",
    "hookimpl",
    "load",
    "model",
    "models",
    "run",
    "stream",
    "sweep",
    "wrap",
]

_HOMES = {
    "layerzoo.adapters.embedder": ("Embedder",),
    "layerzoo.errors": ("LayerzooError",),
    "layerzoo.features": ("Features", "FeatureWriter"),
    "layerzoo.media.audio_input": ("Audio",),
    "layerzoo.plugins.hookspecs": ("hookimpl",),
    "layerzoo.registry": ("model", "models"),
    "layerzoo.runs": ("run",),
    "layerzoo.runtime": ("Backbone", "Batch", "build", "extract", "load", "stream", "wrap"),
    "layerzoo.spec": ("Layer", "ModelSpec"),
    "layerzoo.sweeps": ("Sweep", "sweep"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of this module's

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'layerzoo' has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
