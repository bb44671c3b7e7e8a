"""Tensors that are read in threads while the network is built: equal to those read afterwards, or read again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo.runtime.read_ahead import ReadAhead, reading_ahead
from layerzoo.runtime.stored import HashedTensor, Safetensors, bytes_of, sha256_of
from layerzoo.spec import FrozenMap, ModelSpec

TENSORS = {
    "first.weight": torch.arange(3_000_000, dtype=torch.float32).reshape(3, -1),
    "first.bias": torch.tensor([True, False]),
    "second.weight": torch.arange(7, dtype=torch.bfloat16),
    "empty": torch.empty(0),
    "head.weight": torch.arange(5),
}
NEEDED = [name for name in TENSORS if not name.startswith("head.")]


def saved(folder: Path, prefix: str = "") -> Path:
    path = folder / "model.safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}, path)
    return path


def unchanged(key: str) -> str:
    return key


def assert_equal(found: dict[str, Tensor], names: list[str], prefix: str = "") -> None:
    assert list(found) == [f"{prefix}{name}" for name in names]
    assert all(torch.equal(found[f"{prefix}{name}"], TENSORS[name]) for name in names)


@pytest.mark.parametrize("prefix", ["", "module.", "bert."])
def test_tensors_and_digests_are_those_of_the_file(tmp_path: Path, prefix: str) -> None:
    file = Safetensors.open(saved(tmp_path, prefix))
    with reading_ahead(file, NEEDED, unchanged) as stored:
        assert isinstance(stored, ReadAhead)
        assert_equal(stored.read(f"{prefix}{name}" for name in TENSORS), list(TENSORS), prefix)
        assert stored.digests == {
            f"{prefix}{name}": hashlib.sha256(bytes_of(TENSORS[name])).digest() for name in NEEDED
        }
        assert sha256_of(TENSORS, {name: stored.digests[f"{prefix}{name}"] for name in NEEDED}) == sha256_of(TENSORS)


def test_a_tensor_that_is_read_again_has_its_own_memory(tmp_path: Path) -> None:
    with reading_ahead(Safetensors.open(saved(tmp_path)), NEEDED, unchanged) as stored:
        stored.read(["second.weight"])["second.weight"].zero_()
        assert_equal(stored.read(["second.weight"]), ["second.weight"])


def test_keys_are_compared_after_their_declared_renaming(tmp_path: Path) -> None:
    file = Safetensors.open(saved(tmp_path, "old."))
    with reading_ahead(file, [f"new.{name}" for name in NEEDED], lambda key: key.replace("old.", "new.")) as stored:
        stored.read([f"old.{name}" for name in NEEDED])
        assert isinstance(stored, ReadAhead)
        assert len(stored.digests) == len(NEEDED)


def test_nothing_is_read_ahead_where_no_key_is_needed(tmp_path: Path) -> None:
    file = Safetensors.open(saved(tmp_path))
    with reading_ahead(file, ["other.weight"], unchanged) as stored:
        assert stored is file


def test_a_file_that_ends_early_is_reported_when_its_tensor_is_requested(tmp_path: Path) -> None:
    file = Safetensors.open(path := saved(tmp_path))
    last = max(file.entries, key=lambda name: file.entries[name].stop)
    path.write_bytes(path.read_bytes()[: file.entries[last].start])
    rest = [name for name in TENSORS if name != last]
    with reading_ahead(file, list(TENSORS), unchanged) as stored:
        assert_equal(stored.read(rest), rest)
        with pytest.raises(WeightsError, match="ends in the middle"):
            stored.read([last])


def test_an_error_of_the_network_ends_the_threads(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading_ahead(Safetensors.open(saved(tmp_path)), NEEDED, unchanged) as ahead:
        raise ZeroDivisionError
    assert isinstance(ahead, ReadAhead)
    assert_equal(ahead.read(NEEDED), NEEDED)


def test_a_cut_of_timm_is_read_ahead_and_nothing_past_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"depth": 4, "embed_dim": 48}
    saved_network = timm.create_model("vit_tiny_patch16_224", **arguments).state_dict()
    save_file(saved_network, path := tmp_path / "vit.safetensors")
    read: list[str] = []
    read_hashed = Safetensors.read_hashed

    def noted(file: Safetensors, chunk: Sequence[str]) -> dict[str, HashedTensor]:
        read.extend(chunk)
        return read_hashed(file, chunk)

    monkeypatch.setattr(Safetensors, "read_hashed", noted)
    args = FrozenMap({"name": "vit_tiny_patch16_224", **arguments})
    spec = ModelSpec(id="mine/vit", modality="vision", builder="timm", args=args)
    backbone = layerzoo.load(spec, layer="block.1", weights=path)
    assert {name.split(".")[1] for name in read if name.startswith("blocks.")} == {"0", "1"}
    assert not any(name.startswith(("norm.", "head.")) for name in read)
    assert backbone.provenance["loaded"]["sha256"] == sha256_of({name: saved_network[name] for name in read})
