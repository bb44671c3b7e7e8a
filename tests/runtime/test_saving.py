"""Networks that were trained further: saved, loaded again, and told apart by their provenance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import layerzoo
from layerzoo.errors import OutputError, UsageError, WeightsError
from layerzoo.runtime import changes

TEXTS = ["a fine film", "not so bad"]


def trained(backbone: layerzoo.Backbone) -> layerzoo.Backbone:
    """Train a backbone for one step."""
    module = backbone.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    sum(activation.square().mean() for activation in module(backbone.preprocess(TEXTS)).values()).backward()
    optimizer.step()
    module.eval()
    return backbone


def test_a_trained_network_is_saved_and_loaded_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = layerzoo.load("starter/minilm-l6", layer="block.0")
    before = layerzoo.extract(backbone, TEXTS)
    expected = layerzoo.extract(trained(backbone), TEXTS)
    assert np.abs(expected.values - before.values).max() > 1e-3
    checkpoint = backbone.save(home / "tuned")

    again = layerzoo.load("starter/minilm-l6", layer="block.0", weights=checkpoint)
    np.testing.assert_array_equal(layerzoo.extract(again, TEXTS).values, expected.values)
    assert again.provenance["weights"]["changed"] is None

    monkeypatch.chdir(home / "tuned")
    declared = layerzoo.load("mine/tuned")
    np.testing.assert_array_equal(layerzoo.extract(declared, TEXTS).values, expected.values)
    assert declared.spec.base == "starter/minilm-l6"


def test_provenance_says_which_parameters_changed() -> None:
    backbone = layerzoo.load("toy/next-word", weights="random:0")
    assert layerzoo.extract(backbone, ["cat"]).provenance["weights"]["changed"] is None
    weight = backbone.module.network.hidden.weight
    original = weight.detach().clone()
    weight.data += 1  # without a new version of the tensor
    changed = layerzoo.extract(backbone, ["cat"]).provenance["weights"]["changed"]
    assert (changed["tensors"], changed["of_tensors"]) == (1, len(list(backbone.module.parameters())))
    weight.data += 1
    assert backbone.provenance["weights"]["changed"]["sha256"] != changed["sha256"]
    weight.data = original.flip(0)  # the same numbers in another order
    assert backbone.provenance["weights"]["changed"] is not None
    weight.data = original
    assert backbone.provenance["weights"]["changed"] is None


def test_declared_renaming_is_not_applied_to_a_saved_file(tmp_path: Path, samples: Path) -> None:
    image = samples / "skimage/data/coffee.png"
    backbone = layerzoo.load("starter/efficientnet-lite0", layer="stage.0")
    assert layerzoo.model("starter/efficientnet-lite0").weights.keys  # type: ignore[union-attr]
    checkpoint = backbone.save(tmp_path / "cut")
    assert load_file(checkpoint).keys() == backbone.module.network.state_dict().keys()
    again = layerzoo.load("starter/efficientnet-lite0", layer="stage.0", weights=checkpoint)
    np.testing.assert_array_equal(layerzoo.extract(again, image).values, layerzoo.extract(backbone, image).values)
    with pytest.raises(WeightsError, match=r"model.safetensors has no 'blocks.1"):
        layerzoo.load("starter/efficientnet-lite0", layer="stage.1", weights=checkpoint)


def test_keys_rename_those_of_a_checkpoint(tmp_path: Path) -> None:
    backbone = layerzoo.load("toy/next-word", weights="random:3")
    tensors = {
        name.replace("hidden", "first.layer"): tensor.detach()
        for name, tensor in backbone.module.network.named_parameters()
    }
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"has no 'hidden.weight'.*layerzoo.load\(…, keys="):
        layerzoo.load("toy/next-word", weights=tmp_path / "other.safetensors")
    renamed = layerzoo.load("toy/next-word", weights=tmp_path / "other.safetensors", keys={"first.layer": "hidden"})
    np.testing.assert_array_equal(
        layerzoo.extract(renamed, ["cat drinks"]).values, layerzoo.extract(backbone, ["cat drinks"]).values
    )
    assert renamed.provenance["weights"]["keys"] == {"first.layer": "hidden"}
    with pytest.raises(UsageError, match=r"keys=\{'nope': 'x'\}: no key of other.safetensors is 'nope'"):
        layerzoo.load(
            "toy/next-word", weights=tmp_path / "other.safetensors", keys={"first.layer": "hidden", "nope": "x"}
        )
    with pytest.raises(UsageError, match=r"weights='random:0' reads none"):
        layerzoo.load("toy/next-word", weights="random:0", keys={"a": "b"})
    with pytest.raises(UsageError, match=r"keys=\['hidden'\] is not a mapping"):
        layerzoo.load("toy/next-word", keys=["hidden"])  # type: ignore[arg-type]


def test_a_wrapped_module_is_saved_under_its_own_keys(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    checkpoint = layerzoo.wrap(module).save(tmp_path / "own")
    assert [path.name for path in checkpoint.parent.iterdir()] == ["model.safetensors"]
    module.load_state_dict(load_file(checkpoint))


@pytest.mark.parametrize(
    ("path", "advice"), [("", "names no folder"), ("x/model.safetensors", r"save\('x'\)"), ("x/a.pt", r"save\('x/a'\)")]
)
def test_a_path_that_is_no_folder_is_refused(
    path: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=advice):
        layerzoo.load("toy/next-word").save(path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file cannot be written"):
        layerzoo.load("toy/next-word").save(tmp_path / "file")


def test_tensors_are_hashed_only_when_the_module_is_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[object] = []
    original = changes.fingerprints
    monkeypatch.setattr(changes, "fingerprints", lambda network: hashed.append(network) or original(network))
    backbone = layerzoo.load("toy/next-word")
    assert layerzoo.extract(backbone, ["the cat"]).provenance["weights"]["changed"] is None
    assert not hashed
    next(backbone.module.parameters()).data.add_(1)
    assert layerzoo.extract(backbone, ["the cat"]).provenance["weights"]["changed"]["tensors"] == 1
    assert hashed
