"""Which runs may be joined, and the provenance of some layers of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import layerzoo
from layerzoo import Features
from layerzoo.errors import RunMismatchError, UsageError
from layerzoo.features.origin import joined_provenance

MODEL = "toy/next-word"


def extract(**options: object) -> Features:
    return layerzoo.extract(MODEL, ["the cat"], **options)  # type: ignore[arg-type]


def overwrite(checkpoint: Path) -> None:
    save_file({name: tensor * 2 for name, tensor in load_file(checkpoint).items()}, checkpoint)


def test_runs_of_a_checkpoint_that_was_overwritten_are_not_joined(tmp_path: Path) -> None:
    checkpoint = layerzoo.load(MODEL, layer="head").save(tmp_path)
    features = extract(weights=checkpoint)
    features.save(tmp_path / "features.parquet")
    layerzoo.run(MODEL, ["the cat"], out=tmp_path / "run", weights=checkpoint)
    overwrite(checkpoint)
    for earlier in (features, Features.load(tmp_path / "features.parquet")):
        with pytest.raises(
            UsageError, match=r"differ in the weights of block\.0 \(sha256 of its tensors\): [0-9a-f]{64}, "
        ):
            Features.join([earlier, extract(weights=checkpoint)])
    with pytest.raises(RunMismatchError, match=r"weights\.sha256_by_layer\.block\.0"):
        layerzoo.run(MODEL, ["the cat"], out=tmp_path / "run", weights=checkpoint)


def test_runs_of_a_checkpoint_under_two_names_are_joined(tmp_path: Path) -> None:
    checkpoint = layerzoo.load(MODEL, layer="head").save(tmp_path)
    copy = checkpoint.rename(tmp_path / "copy.safetensors")
    joined = Features.join([extract(), extract(weights=copy)])
    assert [run["weights"]["source"] for run in joined.provenance["other_runs"]] == [str(copy)]


def test_runs_before_and_after_training_are_not_joined() -> None:
    backbone = layerzoo.load(MODEL)
    before = layerzoo.extract(backbone, ["milk"])
    with torch.no_grad():
        next(backbone.module.parameters()).mul_(2)
    with pytest.raises(UsageError, match=r"differ in the tensors that changed after loading: none, then 1 \(sha256"):
        Features.join([before, layerzoo.extract(backbone, ["milk"])])


def test_runs_of_wrapped_networks_of_one_class_are_joined_where_their_weights_agree() -> None:
    network, other, batch = (
        nn.Sequential(nn.Linear(3, 2), nn.ReLU()),
        nn.Sequential(nn.Linear(3, 2), nn.ReLU()),
        torch.ones(1, 3),
    )
    first, second = (layerzoo.extract(layerzoo.wrap(each), batch, layer="module:0") for each in (network, other))
    with pytest.raises(UsageError, match="differ in the weights of module:0"):
        Features.join([first, second])
    deeper = layerzoo.extract(layerzoo.wrap(network), batch, layer=["module:0", "module:1"])
    assert len(Features.join([deeper[["module:0"]], first])) == 2


def test_a_choice_of_layers_has_their_provenance(tmp_path: Path) -> None:
    both, alone = extract(layer=["block.0", "head"]), extract(layer="block.0")
    both.save(tmp_path / "both.npz")
    for chosen in (both[["block.0"]], Features.load(tmp_path / "both.npz", layers=["block.0"])):
        assert {**chosen.provenance, "loaded": {}} == {**alone.provenance, "loaded": {}}
        assert len(Features.join([chosen, alone])) == 2


def test_companions_of_the_same_name_must_agree() -> None:
    runs = [
        {"weights": {"sha256_by_layer": {"a": "0"}, "sha256": {"vocab.txt": vocabulary, name: "1"}}}
        for vocabulary, name in (("2", "a.safetensors"), ("2", "b.safetensors"), ("3", "a.safetensors"))
    ]
    assert joined_provenance(runs[0], runs[1])
    with pytest.raises(UsageError, match=r"differ in the sha256 of vocab\.txt: 2, then 3"):
        joined_provenance(runs[0], runs[2])
