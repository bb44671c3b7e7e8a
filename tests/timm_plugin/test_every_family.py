"""One small architecture of each of timm's model files, at every named layer."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tests.sampling import sampled
from timm.models import model_entrypoint
from tools.certify.exact import Whole, checkpointed, disturb
from tools.certify.timm import declared

import layerzoo
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.cut import plan_cut
from layerzoo.runtime.fill import trim
from layerzoo.runtime.loading import trace_layers
from layerzoo.runtime.network import CutNetwork
from layerzoo.spec import FrozenMap, ImagePreprocess, ModelSpec

FAMILIES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("families.toml").read_text(encoding="utf-8")
)
"""By timm's model file: the fastest architecture, the side of its smallest image, and arguments that make it smaller
if it is large."""

_ALONE = 6
"""The number of layers that are also read alone. All layers are read in one pass; each further pass costs the same
again."""


def spec_of(file: str) -> ModelSpec:
    """Return the declaration of the plugin, with the layers of a trace if the network is made smaller."""
    row = FAMILIES[file]
    spec = declared(row["name"])
    images = ImagePreprocess(size_px=(row["px"], row["px"]), resize="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    if args := row.get("args"):
        spec = replace(spec, args=FrozenMap({"name": row["name"], **args}), layers=())
    return replace(spec, preprocess=images)


def some_alone(whole: Whole) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the activations of up to six layers alone, from the last to the first: the same network is cut shorter
    and shorter."""
    network, trace = whole.backbone.module.network, resolved_model(whole.backbone).tracer.trace
    layers = whole.backbone.layers
    for layer in layers[:: -max(1, -(-len(layers) // _ALONE))]:
        cut = plan_cut(trace, [layer], model=whole.spec.id)
        trim(network, cut)
        with torch.no_grad():
            yield layer.name, CutNetwork(network, cut).eval()(whole.batch)[layer.name]


def test_every_model_file_is_tested() -> None:
    assert set(FAMILIES) == {model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models()}


@pytest.mark.parametrize("file", sampled(list(FAMILIES), 9))
def test_a_cut_at_every_layer_equals_the_whole_network(file: str) -> None:
    spec = spec_of(file)
    network = layerzoo.build(spec)
    disturb(network)
    spec = replace(spec, layers=spec.layers or trace_layers(spec))
    with checkpointed(spec, network) as saved:
        whole = Whole.of(saved, network)
    assert whole.flaws() == {}
    assert whole.compare(whole.backbone).differing == {}
    differing = [name for name, found in some_alone(whole) if not torch.equal(found, whole.expected[name])]
    assert differing == []
