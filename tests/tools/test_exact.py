"""A certificate is worth something if it can be refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import timm
import torch
from tools.certify.exact import Whole, checkpointed, disturb, flaw
from tools.certify.intermediates import intermediates
from tools.certify.timm import declared

from layerzoo.runtime.load import trace_layers


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    spec = declared("test_resnet")
    network = timm.create_model("test_resnet")
    disturb(network)
    with checkpointed(replace(spec, layers=spec.layers or trace_layers(spec)), network) as saved:
        yield Whole.of(saved, network)


def test_a_network_of_other_weights_differs_from_its_cuts_at_every_layer(whole: Whole) -> None:
    other = timm.create_model("test_resnet")
    disturb(other, seed=1)
    beside = Whole.of(whole.spec, other)
    assert all(set(each.differing) == set(each.layers) for each in beside.passes())


def test_cuts_are_made_at_all_layers_and_at_three_alone_with_less_of_the_checkpoint(whole: Whole) -> None:
    passes = list(whole.passes())
    assert [len(each.layers) for each in passes] == [len(whole.spec.layers), 1, 1, 1]
    assert passes[1].share_read < 0.1 < passes[2].share_read < 0.5 < passes[3].share_read
    assert not any(each.differing for each in passes)


def test_a_disturbed_network_gives_something_at_every_layer(whole: Whole) -> None:
    assert whole.flaws() == {}


@pytest.mark.parametrize(
    ("activation", "told"),
    [
        (torch.zeros(2, 3), "is constant"),
        (torch.tensor([1.0, float("nan")]), "is not finite"),
        (torch.tensor([1.0, float("inf")]), "is not finite"),
        (torch.tensor([0.0, 1.0]), None),
    ],
)
def test_what_is_constant_or_not_finite_proves_nothing(activation: torch.Tensor, told: str | None) -> None:
    assert flaw(activation) == told


def test_intermediates_that_are_no_layers_are_told_by_their_module(whole: Whole) -> None:
    found = intermediates(whole.network, whole.batch, whole.by_layer())
    assert found == {"given": 5, "equal": 4, "which": "stage.{0..3}", "other": {"0": "[act1]"}}


def test_a_network_without_intermediates_says_so(whole: Whole) -> None:
    assert intermediates(torch.nn.Identity(), whole.batch, {}) == {"none": "no such method"}
