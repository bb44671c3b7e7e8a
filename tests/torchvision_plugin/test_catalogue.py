"""The catalogue that the plugin ships: all architectures and weights of torchvision, with their stated results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torchvision import models

import layerzoo
from layerzoo.errors import UnusableModelError, UsageError
from layerzoo.registry import registry
from layerzoo.runtime.catalogue import catalogue_path


def test_every_architecture_and_all_weights_are_in_it() -> None:
    names = {f"{name}.{weights.name}" for name in models.list_models() for weights in models.get_model_weights(name)}
    assert {f"torchvision/{name}" for name in names} == set(registry().ids(plugin="torchvision"))


@pytest.mark.parametrize("name", ["resnet50", "vit_l_16", "efficientnet_b1", "r3d_18", "quantized_resnet50"])
def test_the_name_of_an_architecture_is_its_default_weights(name: str) -> None:
    assert (
        layerzoo.model(f"torchvision/{name}").id == f"torchvision/{name}.{models.get_model_weights(name).DEFAULT.name}"
    )


def test_a_model_has_layers_and_costs_or_the_reason_why_it_cannot_be_used() -> None:
    lines = Path(catalogue_path("torchvision")).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[1:]]
    assert [row["id"] for row in rows if "unusable" not in row and not (row.get("layers") and row.get("flops"))] == []
    assert {row["id"].split("_")[0] for row in rows if "unusable" in row} == {"quantized"}


def test_the_parameters_of_a_classification_network_are_those_that_torchvision_states() -> None:
    names = models.list_models(module=models)
    stated = {
        f"torchvision/{name}.{each.name}": each.meta["num_params"]
        for name in names
        for each in models.get_model_weights(name)
    }
    found = {entry.id: entry.params for entry in registry().entries(plugin="torchvision") if entry.id in stated}
    auxiliary = {"torchvision/googlenet.IMAGENET1K_V1", "torchvision/inception_v3.IMAGENET1K_V1"}
    assert {name for name, params in found.items() if params != stated[name]} <= auxiliary


def test_weights_are_at_the_address_of_the_library_with_the_digits_of_its_name() -> None:
    weights = layerzoo.model("torchvision/resnet50").weights
    assert weights is not None
    assert weights.source == models.ResNet50_Weights.DEFAULT.url
    assert weights.sha256_prefix == "11ad3fa6"


def test_results_are_those_that_torchvision_states() -> None:
    stated = models.ResNet50_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    metrics = layerzoo.model("torchvision/resnet50.IMAGENET1K_V1").metrics
    assert metrics["imagenet"].to_dict() == {"acc1": stated["acc@1"], "acc5": stated["acc@5"]}
    assert metrics.keys() == {"imagenet"}
    assert layerzoo.model("torchvision/resnet50.IMAGENET1K_V1").training["classes"] == 1000
    with pytest.raises(UsageError, match="no metric 'training-classes'"):
        layerzoo.models(metric="training-classes>=1")


@pytest.mark.parametrize(
    ("name", "tasks", "trained_on"),
    [
        ("resnet50", ("image-classification",), ("imagenet-1k",)),
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", ("image-classification",), ("instagram-3.6b", "imagenet-1k")),
        ("vgg16.IMAGENET1K_FEATURES", ("image-feature-extraction",), ("imagenet-1k",)),
        ("maskrcnn_resnet50_fpn", ("object-detection", "image-segmentation"), ("coco",)),
        ("swin3d_b.KINETICS400_IMAGENET22K_V1", ("video-classification",), ("imagenet-21k", "kinetics-400")),
        ("raft_small", ("optical-flow",), ("flyingchairs", "flyingthings3d")),
    ],
)
def test_tasks_and_training_data_are_those_of_the_weights(
    name: str, tasks: tuple[str, ...], trained_on: tuple[str, ...]
) -> None:
    model = layerzoo.model(f"torchvision/{name}")
    assert (model.tasks, model.trained_on) == (tasks, trained_on)
    assert all(model.id in registry().ids(task=task, plugin="torchvision") for task in tasks)


def test_models_are_sorted_and_filtered_by_their_results() -> None:
    best, *_ = registry().ids(plugin="torchvision", sort="-imagenet-acc1")
    assert best == "torchvision/vit_h_14.IMAGENET1K_SWAG_E2E_V1"
    good = set(registry().ids(metric=["imagenet-acc1>=85", "imagenet-acc5<98"]))
    assert good == {
        entry.id
        for entry in registry().entries()
        if entry.metrics
        and entry.metrics.get("imagenet", {}).get("acc1", 0) >= 85
        and entry.metrics["imagenet"]["acc5"] < 98
    }
    with pytest.raises(UsageError, match=r"no metric 'imagenet-acc2'.*imagenet-acc1"):
        registry().ids(metric=["imagenet-acc2>80"])
    with pytest.raises(UsageError, match="imagenet-acc1>=80"):
        registry().ids(metric=["imagenet-acc1 is high"])


def test_a_quantized_network_is_refused_with_its_reason() -> None:
    with pytest.raises(UnusableModelError, match=r"8-bit integers.*Next: torchvision/resnet50"):
        layerzoo.load("torchvision/quantized_resnet50", weights="random:0")
