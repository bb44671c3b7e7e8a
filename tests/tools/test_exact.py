"""The comparison of cuts with the whole network detects differences and meaningless equality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import timm
import torch
from tools.certify.exact import Whole, checkpointed, disturb, flaw, hooked
from tools.certify.intermediates import intermediates
from tools.certify.timm import declared

from layerzoo.runtime.loading import trace_layers


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    spec = declared("test_resnet")
    network = timm.create_model("test_resnet")
    disturb(network)
    with checkpointed(replace(spec, layers=spec.layers or trace_layers(spec)), network) as saved:
        yield Whole.of(saved, network)


def test_a_network_with_other_weights_differs_from_the_cuts_at_every_layer(whole: Whole) -> None:
    other = timm.create_model("test_resnet")
    disturb(other, seed=1)
    passes = Whole.of(whole.spec, other).passes()
    assert all(set(run.differing) == set(run.layers) for run in passes)


def test_all_layers_are_cut_together_and_three_alone_with_less_of_the_checkpoint(whole: Whole) -> None:
    passes = list(whole.passes())
    assert [len(run.layers) for run in passes] == [len(whole.spec.layers), 1, 1, 1]
    assert passes[1].share_read < 0.1 < passes[2].share_read < 0.5 < passes[3].share_read
    assert not any(run.differing for run in passes)


def test_a_disturbed_network_has_meaningful_activations_at_every_layer(whole: Whole) -> None:
    assert whole.flaws() == {}


@pytest.mark.parametrize(
    ("activation", "reason"),
    [
        (torch.zeros(2, 3), "constant"),
        (torch.tensor([1.0, float("nan")]), "not finite"),
        (torch.tensor([1.0, float("inf")]), "not finite"),
        (torch.tensor([0.0, 1.0]), None),
    ],
)
def test_a_constant_or_infinite_activation_is_a_flaw(activation: torch.Tensor, reason: str | None) -> None:
    assert flaw(activation) == reason


def test_activations_with_the_same_nan_are_repeatable_and_other_activations_are_not(whole: Whole) -> None:
    network = timm.create_model("test_resnet").eval()
    with torch.no_grad():
        network.conv1[0].weight[0] = torch.nan
    padded = replace(whole, network=network, expected=hooked(network, whole.backbone.layers, whole.batch))
    assert padded.expected["stem"].isnan().any()
    assert padded.is_repeatable()
    assert not replace(padded, expected=whole.expected).is_repeatable()


def test_an_intermediate_that_is_not_a_layer_is_reported_with_its_module(whole: Whole) -> None:
    comparison = intermediates(whole.network, whole.batch, whole.by_layer())
    assert comparison == {"count": 5, "equal": 4, "which": "stage.{0..3}", "other": {"0": "[act1]"}}


def test_a_network_without_intermediates_is_reported(whole: Whole) -> None:
    assert intermediates(torch.nn.Identity(), whole.batch, {}) == {"none": "no such method"}
