"""Checkpoints as training scripts save them: with averaged weights, arguments, and prefixes of wrappers."""

from __future__ import annotations

import argparse
import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import load_checkpoint
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo.runtime.wrappers import unwrappings

RAW = {"hidden.weight": torch.arange(24.0).reshape(3, 8), "next_word.weight": torch.ones(8, 3)}
EMA = {name: tensor + 100 for name, tensor in RAW.items()}


def loaded(path: Path, **arguments: Any) -> tuple[Tensor, dict[str, Any]]:
    """Return the first weight of the toy network with a checkpoint, and the provenance of its weights."""
    backbone = layerzoo.load("toy/next-word", layer="block.0", weights=path, **arguments)
    return backbone.module.state_dict()["network.hidden.weight"], backbone.provenance["weights"]


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        ({"state_dict": RAW, "state_dict_ema": EMA, "epoch": 3}, "state_dict_ema"),
        ({"state_dict": RAW, "model_ema": EMA}, "model_ema"),
        ({"state_dict_ema": EMA}, "state_dict_ema"),
        ({"model": RAW, "state_dict_ema": None, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, "model"),
        ({"state_dict": OrderedDict(RAW)}, "state_dict"),
        ({"model_state_dict": RAW, "metric": 0.5}, "model_state_dict"),
        (RAW, None),
    ],
)
def test_averaged_weights_take_precedence_and_the_choice_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: dict[str, Any], entry: str | None
) -> None:
    torch.save(content, tmp_path / f"{entry}.pth.tar")
    for _ in range(2):  # the second time from the converted file
        weight, message = loaded(tmp_path / f"{entry}.pth.tar", allow_pickle=True)
        expected = EMA if entry in ("state_dict_ema", "model_ema") else RAW
        assert torch.equal(weight, expected["hidden.weight"])
        assert message["entry"] == entry
    if entry == "model_ema":
        assert "its weights under 'model_ema' are used" in caplog.text


@pytest.mark.parametrize(
    ("content", "listed"),
    [
        ({"ema": {"shadow": EMA, "decay": 0.9}, "step": 3}, "['ema']['shadow'] (2 tensors)"),
        ({"model_ema": {"module": EMA, "updates": 7}, "model": RAW}, "['model_ema']['module'] (2 tensors)"),
        ({"models": {"ema": EMA, "raw": RAW}}, "['models']['ema'] (2 tensors), ['models']['raw'] (2 tensors)"),
        (
            {"generator": RAW, "discriminator": {"weight": torch.ones(2)}},
            "['generator'] (2 tensors), ['discriminator'] (1",
        ),
        ({"net": RAW, "betas": torch.ones(3)}, "['net'] (2 tensors)"),
        ({"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "step": 1}, None),
        ({"model_ema": {"decay": 0.9}, "other": {}}, None),
    ],
)
def test_the_error_for_an_ambiguous_file_lists_its_state_dicts(
    tmp_path: Path, content: dict[str, Any], listed: str | None
) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="and no state dict") as caught:
        loaded(tmp_path / "a.pth", allow_pickle=True)
    if listed is None:
        assert "It has these inside" not in str(caught.value)
        return
    assert f"It has these inside: {listed}" in str(caught.value)
    advised = str(caught.value).split("Next: ")[1].split("as in torch.save(")[1].split(", 'weights.pth'")[0]
    torch.save(eval(advised.replace("'a.pth'", repr(str(tmp_path / "a.pth")))), tmp_path / "weights.pth")
    assert isinstance(loaded(tmp_path / "weights.pth", allow_pickle=True)[0], Tensor)


def test_a_checkpoint_of_timms_training_script_equals_timm(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=5)
    ema = ModelEmaV3(network, decay=0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    args = argparse.Namespace(model="test_resnet", nested=argparse.Namespace(lr=[0.1]), mean=None)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    saver = CheckpointSaver(network, optimizer, args=args, model_ema=ema, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(epoch=3, metric=0.5)
    path = tmp_path / "last.pth.tar"
    expected = timm.create_model("test_resnet", num_classes=5)
    load_checkpoint(expected, str(path))
    spec = layerzoo.ModelSpec(
        id="mine/trained",
        modality="vision",
        builder="timm",
        args=layerzoo.spec.FrozenMap({"name": "test_resnet", "num_classes": 5}),
    )
    backbone = layerzoo.load(spec, layer="head", weights=path, allow_pickle=True)
    found = {name.removeprefix("network."): tensor for name, tensor in backbone.module.state_dict().items()}
    differing = [
        name for name, tensor in expected.state_dict().items() if not torch.equal(found.get(name, tensor), tensor)
    ]
    assert differing == []
    assert "fc.weight" in found


def test_a_copy_under_a_prefix_is_not_the_network(tmp_path: Path) -> None:
    save_file(RAW | {f"module.{name}": tensor for name, tensor in EMA.items()}, tmp_path / "a.safetensors")
    weight, message = loaded(tmp_path / "a.safetensors")
    assert torch.equal(weight, RAW["hidden.weight"])
    assert message["removed_prefix"] is None


def test_a_pickled_class_of_another_library_is_refused(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "opened"),)

    torch.save({"state_dict": RAW, "args": argparse.Namespace(boom=Boom())}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"it holds objects of .*mkdir, which are never unpickled"):
        loaded(tmp_path / "a.pth", allow_pickle=True)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.", "net.module."],
)
def test_the_prefixes_of_training_wrappers_are_removed_and_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    rest = {"criterion.weight": torch.ones(2)} if prefix == "model." else {}
    path = tmp_path / f"{prefix}safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in RAW.items()} | rest, path)
    weight, message = loaded(path)
    assert torch.equal(weight, RAW["hidden.weight"])
    assert message["removed_prefix"] == prefix
    assert f"without '{prefix}' they fit the network" in caplog.text


def test_a_prefix_stays_where_the_keys_do_not_fit_without_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file({f"module.other.{name}": tensor for name, tensor in RAW.items()}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"has no 'hidden.weight'.*module.other.hidden.weight"):
        loaded(tmp_path / "a.safetensors")
    assert "they fit" not in caplog.text


def test_wrappers_of_submodules_are_recognised_as_torch_saves_them() -> None:
    plain = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    own = list(plain.state_dict())
    plain[1] = torch.compile(plain[1])  # type: ignore[assignment]
    keys = list(DataParallel(plain).state_dict())
    removed, rename = next(iter(unwrappings(keys, own)))
    assert [rename(key) for key in keys] == own
    assert removed == "module._orig_mod."


def test_a_submodule_named_like_a_prefix_is_kept() -> None:
    own = ["module.weight", "model.bias"]
    assert next(removed for removed, _ in unwrappings(own, own)) is None


def test_an_ordinary_checkpoint_gives_no_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    save_file(RAW, tmp_path / "a.safetensors")
    _, message = loaded(tmp_path / "a.safetensors")
    assert (message["entry"], message["removed_prefix"]) == (None, None)
    assert caplog.text == ""
