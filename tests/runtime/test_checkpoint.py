"""Damaged checkpoints, foreign files, and tensors of other dtypes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import layerzoo
from layerzoo.errors import UnsafeWeightsError, WeightsError
from layerzoo.registry import registry
from layerzoo.spec import FrozenMap
from layerzoo.weights.inventory import Inventory
from layerzoo.weights.tensors import read_header
from layerzoo.weights.verdicts import verdicts

TOY = {"hidden.weight": torch.ones(3, 8), "next_word.weight": torch.ones(8, 3)}


@pytest.mark.parametrize("left", [0, 5, 1000, -1], ids=["empty", "no header", "cut short", "last byte gone"])
def test_a_damaged_converted_checkpoint_is_converted_again(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setenv("LAYERZOO_CACHE", str(shutil.copytree(index, tmp_path, dirs_exist_ok=True)))
    expected = layerzoo.load("starter/efficientnet-lite0", layer="stem").module.state_dict()
    (kept,) = (tmp_path / "converted").glob("*.safetensors")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:left])
    found = layerzoo.load("starter/efficientnet-lite0", layer="stem").module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("place", ["header", "tensor that is used", "tensor that is not used"])
def test_a_flipped_bit_in_a_converted_checkpoint_is_detected_before_its_use(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    monkeypatch.setenv("LAYERZOO_CACHE", str(shutil.copytree(index, tmp_path / "cache")))
    torch.save({**TOY, "unused": torch.ones(1000)}, tmp_path / "net.pth")

    def loaded() -> dict[str, torch.Tensor]:
        backbone = layerzoo.load("toy/next-word", layer="block.0", weights=tmp_path / "net.pth", allow_pickle=True)
        return dict(backbone.module.state_dict())

    expected = loaded()
    (kept,) = (tmp_path / "cache/converted").glob("*.safetensors")
    whole = kept.read_bytes()
    entries = read_header(kept)
    at = {"header": 20, "tensor that is used": entries["hidden.weight"].start + 5}.get(place, entries["unused"].start)
    kept.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
    state = [verdict.state for verdict in verdicts(Inventory.collect(registry()))]
    assert state == ["damaged"]
    found = loaded()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert (kept.read_bytes() == whole) == (place != "tensor that is not used")  # which is not read
    assert ("is damaged: the sha256 of 'hidden.weight' is" in caplog.text) == (place == "tensor that is used")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "its 0 bytes end before its header does"),
        ("a.safetensors", b"this is a text, and no checkpoint", "it was cut short, or is not a safetensors file"),
        ("a.txt", b"this is a text, and no checkpoint", "a.txt is not a .safetensors file. A pickle runs code"),
        ("a.pth", b"", "a.pth is not a .safetensors file. A pickle runs code"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_reported(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        layerzoo.load("toy/next-word", weights=tmp_path / name)
    assert caught.value.exit_code == (5 if isinstance(caught.value, UnsafeWeightsError) else 4)


def test_the_error_for_a_truncated_checkpoint_states_the_missing_bytes(tmp_path: Path) -> None:
    save_file(TOY, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-10])
    with pytest.raises(WeightsError, match=f"{len(whole) - 10} bytes, and its header describes {len(whole)}"):
        layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")


def test_the_error_for_a_folder_without_a_checkpoint_lists_its_files(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("the weights are elsewhere")
    with pytest.raises(WeightsError, match=r"no file of mine/net is a checkpoint \(README.md\)"):
        layerzoo.load(
            layerzoo.ModelSpec(
                id="mine/net",
                modality="vision",
                builder="timm",
                args=FrozenMap({"name": "resnet10t"}),
            ),
            weights=tmp_path,
        )


def test_integer_tensors_are_refused_as_weights(tmp_path: Path) -> None:
    quantised = {**TOY, "hidden.weight": torch.ones(3, 8, dtype=torch.int8)}
    save_file(quantised, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"'hidden.weight' is torch.int8 in the checkpoint .* need the scales"):
        layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")


def test_nan_weights_fail_every_sample(tmp_path: Path) -> None:
    save_file({**TOY, "hidden.weight": torch.full((3, 8), torch.nan)}, tmp_path / "a.safetensors")
    found = layerzoo.extract("toy/next-word", ["cat", "dog"], weights=tmp_path / "a.safetensors", errors="skip")
    assert found.values.shape == (0, 3)
    assert [error.reason for error in found.errors] == [
        "its features at layer block.0 are not finite (nan or inf) in float32"
    ] * 2
