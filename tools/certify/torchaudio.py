"""torchaudio: trace every pipeline and front end, and cut every one; large speech networks with fewer blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from tools.certify.exact import Whole, checkpointed, disturb, noise_like, traced, untraced
from torch import nn
from torchaudio import pipelines

import layerzoo
from layerzoo.errors import LayerzooError
from layerzoo.runtime.loading import build, trace_layers
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo_torchaudio.front_ends import FRONT_ENDS
from layerzoo_torchaudio.names import pipeline_names

MAX_PARAMS = 1 << 40
"""All networks run."""
_LARGE = 60_000_000
"""Speech networks with more parameters run with fewer blocks."""
_BLOCKS = 3
_TOKENS = 38
"""Of the character pipelines of Tacotron2."""
_DEPENDS_ON = ("layerzoo", "layerzoo-torchaudio", "torchaudio", "torch")


def versions() -> dict[str, str]:
    """Return the versions of all distributions that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Return the name of every pipeline and front end."""
    return [*pipeline_names(), *FRONT_ENDS]


def known(name: str) -> dict[str, Any]:
    """Return the class of a pipeline; of a front end, that it is one."""
    return {"kind": type(getattr(pipelines, name)).__name__.lstrip("_") if name not in FRONT_ENDS else "front end"}


def certify(name: str) -> dict[str, Any]:
    """Trace a network, run its cuts, and return the results."""
    torch.set_num_threads(1)
    spec = layerzoo.model(f"torchaudio/{name}")
    try:
        layers = trace_layers(replace(spec, layers=()))
    except LayerzooError as error:
        return untraced(spec.params or 0, error)
    result = traced(spec.params or 0, layers)
    changed = _changed(name, spec)
    run = replace(spec, args=FrozenMap({**spec.args, **changed}), weights=None, layers=(), params=None, flops=None)
    if changed:
        result["run_with"] = ", ".join(f"{key}={value}" for key, value in changed.items())
    return {**result, **_run(replace(run, layers=trace_layers(run)))}


def _changed(name: str, spec: ModelSpec) -> Mapping[str, Any]:
    """Return the arguments that make a large network small enough to run."""
    is_speech = isinstance(getattr(pipelines, name, None), pipelines.Wav2Vec2Bundle)
    return {"encoder_num_layers": _BLOCKS} if is_speech and (spec.params or 0) > _LARGE else {}


def _run(spec: ModelSpec) -> dict[str, Any]:
    """Compare cuts with the whole network."""
    network: nn.Module = build(spec)
    disturb(network)
    with checkpointed(spec, network) as saved:
        return Whole.of(saved, network, _sample).results()


def _sample(example: layerzoo.Batch) -> layerzoo.Batch:
    """Return a batch of noise, or of random characters under a mask that hides none."""
    noise = noise_like(example)
    if all(tensor.is_floating_point() for tensor in example.inputs.values()):
        return noise
    generator = torch.Generator().manual_seed(0)
    texts = {
        name: torch.ones_like(tensor)
        if name.endswith("mask")
        else torch.randint(0, _TOKENS, tensor.shape, generator=generator)
        for name, tensor in example.inputs.items()
    }
    return layerzoo.Batch(inputs=texts)
