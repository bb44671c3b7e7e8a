"""Headers of safetensors files, read without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from layerzoo.errors import WeightsError
from layerzoo.weights.tensors import TensorEntry, read_header

TENSORS = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.arange(5, dtype=np.int64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "m.safetensors", metadata={"format": "np"})
    return tmp_path / "m.safetensors"


def test_every_tensor_has_its_type_shape_and_offset(path: Path):
    header = read_header(path)
    raw = path.read_bytes()
    assert {name: (entry.dtype, entry.shape) for name, entry in header.items()} == {
        "a.weight": ("F32", (3, 4)),
        "b": ("I64", (5,)),
    }
    for name, entry in header.items():
        assert raw[entry.start : entry.stop] == TENSORS[name].tobytes()
        assert entry.size_bytes == TENSORS[name].nbytes


def test_tensors_are_in_the_order_of_their_offsets(path: Path):
    starts = [entry.start for entry in read_header(path).values()]
    assert starts == sorted(starts)


@pytest.mark.parametrize("cut", [-1, -40])
def test_the_error_for_a_truncated_file_states_the_missing_bytes(path: Path, cut: int):
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(WeightsError, match=rf"has {len(whole) + cut} bytes, and its header describes {len(whole)}"):
        read_header(path)


@pytest.mark.parametrize("data", [b"", b"abc", b"\x80\x02}q\x00(X\x06\x00\x00\x00weight"])
def test_a_file_that_is_not_safetensors_is_reported(path: Path, data: bytes):
    path.write_bytes(data)
    with pytest.raises(
        WeightsError, match="end before its header does; it was cut short, or is not a safetensors file"
    ):
        read_header(path)


def test_overlapping_tensors_are_refused(path: Path):
    entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        read_header(path)


def test_a_missing_file_is_reported(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors cannot be read"):
        read_header(tmp_path / "gone.safetensors")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_damaged_file_is_read_or_raises_a_layerzoo_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    data = bytearray(save(TENSORS))
    data[min(at, len(data) - 1)] = byte
    path.write_bytes(data)
    try:
        header = read_header(path)
    except WeightsError:
        return
    assert all(isinstance(entry, TensorEntry) for entry in header.values())
