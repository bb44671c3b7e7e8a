"""A file of features is read exactly as computed, or refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tools.torture.features import example, is_same, problem_of

from layerzoo.errors import InputError, UnknownLayerError
from layerzoo.features import Features, FeatureWriter, writer
from layerzoo.features.digests import LayerDigest, digest_of
from layerzoo.features.features import ragged
from layerzoo.features.formats import verify
from layerzoo.features.summary import Summary

SUFFIXES = [".parquet", ".npz", ".safetensors"]
formats = pytest.mark.parametrize("suffix", SUFFIXES)


def metadata_of(path: Path) -> dict[str, str]:
    match path.suffix:
        case ".parquet":
            return {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}
        case ".npz":
            with np.load(path) as archive:
                return {"layerzoo": archive["layerzoo.json"].decode()}
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


@formats
def test_300_flipped_bits_are_detected(suffix: str, tmp_path: Path) -> None:
    written, path = example(rows=200, width=16), tmp_path / f"x{suffix}"
    written.save(path)
    whole, damaged, draw = path.read_bytes(), tmp_path / f"damaged{suffix}", random.Random(suffix)
    for bit in draw.sample(range(8 * len(whole)), 300):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(content)
        assert problem_of(damaged, written) is None, f"bit {bit}"


@formats
def test_only_the_layers_that_are_read_are_checked(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2_000, 64)).astype(np.float32)
    path = tmp_path / f"x{suffix}"
    Features(tuple(map(str, range(2_000))), {"sound": values, "damaged": values[:, ::-1].copy()}).save(path)
    content = bytearray(path.read_bytes())
    last = content.rindex(values[-1, ::-1].tobytes()) if suffix != ".parquet" else len(content) * 3 // 4
    content[last] ^= 1
    path.write_bytes(content)
    np.testing.assert_array_equal(Features.load(path, layers=["sound"])["sound"], values)
    for layers in (None, ["damaged"]):
        with pytest.raises(InputError, match="x\\."):
            Features.load(path, layers=layers)
    with pytest.raises(UnknownLayerError, match="They have: sound, damaged"):
        Features.load(path, layers=["block.1"])


@pytest.mark.slow
@formats
def test_every_flipped_bit_is_detected(suffix: str, tmp_path: Path) -> None:
    written, path = example(), tmp_path / f"x{suffix}"
    written.save(path)
    whole, damaged = path.read_bytes(), tmp_path / f"damaged{suffix}"
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(content)
        assert problem_of(damaged, written) is None, f"bit {bit}"


def test_the_digest_of_a_layer_does_not_depend_on_its_format_or_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_ROW_GROUP_BYTES", 1000)
    written, digests = example(rows=50), set()
    for suffix in SUFFIXES:
        for rows in (1, 7, 50):
            with FeatureWriter(tmp_path / f"x{suffix}") as out:
                for start in range(0, 50, rows):
                    out.write(written.rows(start, start + rows))
            digests.add(json.dumps(json.loads(metadata_of(tmp_path / f"x{suffix}")["layerzoo"])["digests"]))
            assert verify(tmp_path / f"x{suffix}")
    assert len(digests) == 1


@pytest.mark.parametrize("rows", [0, 1, 100, 2730, 9000])
def test_digests_of_parts_combine_to_the_digest_of_the_whole(rows: int) -> None:
    array = np.random.default_rng(rows).random((rows, 768), np.float32)  # 4 MiB are 1,365.3 rows
    parts = LayerDigest()
    for start in range(0, rows, 999):
        parts.update(array[start : start + 999])
    assert parts.hexdigest() == digest_of(array)


def test_different_shapes_have_different_digests() -> None:
    numbers = np.arange(6, dtype=np.float32)
    arrays = [numbers.reshape(1, 6), numbers.reshape(6, 1), numbers.reshape(1, 2, 3), numbers.reshape(1, 3, 2)]
    arrays.append(ragged([numbers[:2], numbers[2:]]))
    assert len({digest_of(array) for array in arrays}) == len(arrays)
    assert digest_of(ragged([numbers, numbers])) == digest_of(np.stack([numbers, numbers]))


def test_a_layer_whose_shape_varies_in_a_later_batch_keeps_its_digest(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "x.parquet") as out:
        for length in (3, 3, 5):
            out.write(Features((str(length),), {"x": np.ones((1, length), np.float32)}))
    assert verify(tmp_path / "x.parquet")
    assert Features.load(tmp_path / "x.parquet")["x"].dtype == object


@formats
def test_a_damaged_layer_is_named(suffix: str, tmp_path: Path) -> None:
    """Wrong numbers that another program wrote with valid checksums are detected too."""
    path = tmp_path / f"x{suffix}"
    Features(("a", "b"), {"norm": np.ones((2, 3), np.float32)}).save(path)
    match suffix:
        case ".parquet":
            metadata = {key: value for key, value in metadata_of(path).items() if key.startswith("layerzoo")}
            pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
            assert verify(path)  # rewriting the same values with another program changes nothing
            Features(("a", "b"), {"norm": np.zeros((2, 3), np.float32)}).save(tmp_path / "y.parquet")
            pq.write_table(pq.read_table(tmp_path / "y.parquet").replace_schema_metadata(metadata), path)
        case ".npz":
            with np.load(path) as archive:
                members = {name: archive[name] for name in archive.files}
            np.savez(tmp_path / "y.npz", norm=np.zeros((2, 3), np.float32), id=members["id"])
            with zipfile.ZipFile(tmp_path / "y.npz", "a") as archive:
                archive.writestr("layerzoo.json", members["layerzoo.json"])
                archive.writestr("layerzoo.sha256", members["layerzoo.sha256"])
            (tmp_path / "y.npz").replace(path)
        case ".safetensors":
            metadata = metadata_of(path)
            save_file({"norm": np.zeros_like(load_file(path)["norm"])}, path, metadata)
    for read in (Features.load, verify):
        with pytest.raises(InputError, match="the numbers of layer norm are damaged"):
            read(path)


@formats
def test_a_file_of_an_earlier_version_is_read(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file has no digests."""
    written, path = example(), tmp_path / f"x{suffix}"
    if suffix == ".npz":
        written.save(tmp_path / "now.npz")
        with zipfile.ZipFile(tmp_path / "now.npz") as found, zipfile.ZipFile(path, "w") as archive:
            for name in set(found.namelist()) - {"layerzoo.sha256", "layerzoo.json"}:
                archive.writestr(name, found.read(name))
            archive.writestr("layerzoo.json", json.dumps({**json.loads(found.read("layerzoo.json")), "format": 1}))
    else:
        monkeypatch.setattr(writer.RunningDigests, "result", lambda *_: None)
        monkeypatch.setattr(Summary, "to_metadata", lambda self: {"layerzoo": self.to_json()})
        written.save(path)
    assert is_same(Features.load(path), written)
    assert not verify(path)


def test_two_processes_write_identical_files(tmp_path: Path) -> None:
    script = """
        import sys
        from tools.torture.features import example
        for suffix in (".parquet", ".npz", ".safetensors"):
            example(rows=500, width=100).save(f"{sys.argv[1]}{suffix}")
    """
    for name, seed in (("one", "1"), ("two", "2")):
        run = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / name)]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2]), "TZ": f"UTC{seed}"}
        subprocess.run(run, check=True, env=environment)
    for suffix in SUFFIXES:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
