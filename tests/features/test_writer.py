"""Features on disk: every format returns the written values, and a file is complete or does not exist."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerzoo.errors import EmptyResultError, InputError, OutputError, SampleError, UsageError
from layerzoo.features import Features, FeatureWriter, writer
from layerzoo.features.features import ragged

SUFFIXES = [".parquet", ".npz", ".safetensors"]

# The property tests create their folders once and overwrite the files: an example requires no empty folder.
formats = pytest.mark.parametrize("suffix", SUFFIXES)


def batch(n: int = 2, m: int = 3, start: int = 0) -> Features:
    values = np.arange(start, start + n * m, dtype=np.float32).reshape(n, m)
    return Features(ids=tuple(f"s{start + i}" for i in range(n)), by_layer={"block.1": values})


def same(one: Features, other: Features) -> None:
    assert one.ids == other.ids
    assert one.layers == other.layers
    for layer in one.layers:
        assert one[layer].dtype == other[layer].dtype
        assert one[layer].shape == other[layer].shape
        for left, right in zip(one[layer], other[layer], strict=True):
            np.testing.assert_array_equal(left, right)
    assert one.provenance == other.provenance
    assert [(error.id, error.reason) for error in one.errors] == [(error.id, error.reason) for error in other.errors]
    assert one.report == other.report
    assert one.passed_over == other.passed_over


floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
names = st.text(st.characters(exclude_categories=()), min_size=0, max_size=12)


@st.composite
def layers(draw: st.DrawFn, n: int) -> np.ndarray:
    """Generate the array of one layer: a matrix, stacked tensors, or samples of different shapes."""
    axes = draw(st.integers(0, 3))
    if draw(st.booleans()):
        shape = draw(st.tuples(*[st.integers(0, 4)] * axes))
        return draw(hnp.arrays(np.float32, (n, *shape), elements=floats))
    shapes = draw(st.lists(st.tuples(*[st.integers(0, 4)] * axes), min_size=n, max_size=n))
    return ragged([draw(hnp.arrays(np.float32, shape, elements=floats)) for shape in shapes])


@st.composite
def batches(draw: st.DrawFn) -> list[Features]:
    """Generate batches with the same layers, whose samples may have different shapes in each batch."""
    kinds = draw(
        st.lists(st.sampled_from(["block.1", "block.1.attn", "module:a b#2", "naïve"]), unique=True, max_size=3)
    )
    axes = {kind: draw(st.integers(0, 3)) for kind in kinds}
    result = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0, 4))
        by_layer = {}
        for kind in kinds:
            shape = draw(st.tuples(*[st.integers(0, 3)] * axes[kind]))
            by_layer[kind] = draw(hnp.arrays(np.float32, (n, *shape), elements=floats))
        result.append(Features(draw(st.lists(names, min_size=n, max_size=n)), by_layer if n else {}))
    return result


@formats
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_saved_is_loaded(suffix: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    n = data.draw(st.integers(1, 4))
    features = Features(
        ids=data.draw(st.lists(names, min_size=n, max_size=n)),
        by_layer={"block.1": data.draw(layers(n)), "block.1.attn": data.draw(layers(n))},
        provenance={"model": "toy/next-word", "nested": {"list": [1, 2.5, None, True, "é"]}},
        errors=(SampleError(data.draw(names), "empty"),),
        report={"truncated": 0, "windows": 3},
        passed_over=("notes.txt",),
    )
    path = tmp_path_factory.getbasetemp() / f"saved{suffix}"
    features.save(path)
    same(Features.load(path), features)


@formats
@settings(max_examples=40, deadline=None)
@given(parts=batches(), row_group_bytes=st.sampled_from([1, 60, 1 << 20]))
def test_a_written_file_is_the_join_of_its_batches(
    suffix: str, tmp_path_factory: pytest.TempPathFactory, parts: list[Features], row_group_bytes: int
):
    path = tmp_path_factory.getbasetemp() / f"written{suffix}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_ROW_GROUP_BYTES", row_group_bytes)
        with FeatureWriter(path) as out:
            for part in parts:
                out.write(part)
    same(Features.load(path), Features.join(parts))


@formats
def test_a_result_without_samples_keeps_layers_and_errors(suffix: str, tmp_path: Path):
    features = Features(
        ids=(), by_layer={"norm": np.empty((0, 384), np.float32)}, errors=(SampleError("a.jpg", "truncated"),)
    )
    features.save(tmp_path / f"none{suffix}")
    same(Features.load(tmp_path / f"none{suffix}"), features)


@formats
def test_a_writer_without_batches_writes_an_empty_file(suffix: str, tmp_path: Path):
    with FeatureWriter(tmp_path / f"none{suffix}"):
        pass
    assert len(Features.load(tmp_path / f"none{suffix}")) == 0


@formats
def test_loaded_arrays_are_writable(suffix: str, tmp_path: Path):
    batch().save(tmp_path / f"x{suffix}")
    assert Features.load(tmp_path / f"x{suffix}").values.flags.writeable


def test_parquet_files_are_readable_by_any_table_library(tmp_path: Path):
    batch(n=2, m=3).save(tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["id", "block.1"]
    assert table["block.1"].type == pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    assert table["block.1"].to_pylist() == [[0, 1, 2], [3, 4, 5]]
    assert json.loads(pq.read_metadata(tmp_path / "x.parquet").metadata[b"layerzoo"])["shapes"] == {"block.1": [3]}


def test_parquet_files_contain_ragged_samples_with_their_shapes(tmp_path: Path):
    samples = ragged([np.ones((1, 2), np.float32), np.zeros((2, 1), np.float32)])
    Features(ids=("a", "b"), by_layer={"x": samples}).save(tmp_path / "x.parquet")
    rows = pq.read_table(tmp_path / "x.parquet")["x"].to_pylist()
    assert rows == [{"values": [1, 1], "shape": [1, 2]}, {"values": [0, 0], "shape": [2, 1]}]


def test_npz_files_are_readable_by_numpy(tmp_path: Path):
    batch(n=2, m=3).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["id"].tolist() == ["s0", "s1"]
        assert archive["block.1"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_safetensors_files_are_readable_by_safetensors(tmp_path: Path):
    from safetensors.numpy import load_file

    batch(n=2, m=3).save(tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["block.1"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_batches_are_collected_into_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "_ROW_GROUP_BYTES", 10 * 100 * 4)
    with FeatureWriter(tmp_path / "x.parquet") as out:
        for start in range(40):
            out.write(batch(n=1, m=100, start=start))
    assert 3 <= pq.ParquetFile(tmp_path / "x.parquet").num_row_groups <= 5


def test_arrays_can_be_reused_after_writing(tmp_path: Path):
    reused = np.zeros((1, 2), np.float32)
    with FeatureWriter(tmp_path / "x.parquet") as out:
        for value in (1, 2):
            reused[:] = value
            out.write(Features(ids=(str(value),), by_layer={"x": reused}))
    assert Features.load(tmp_path / "x.parquet").values.tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@formats
def test_an_interrupted_writer_leaves_no_file(suffix: str, error: type[BaseException], tmp_path: Path):
    def interrupted() -> None:
        with FeatureWriter(tmp_path / f"x{suffix}") as out:
            out.write(batch())
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_keeps_the_existing_file(tmp_path: Path):
    path = tmp_path / "x.parquet"
    batch().save(path)

    def interrupted() -> None:
        with FeatureWriter(path) as out:
            out.write(batch(n=7))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(Features.load(path)) == 2


@formats
def test_a_run_without_any_successful_sample_keeps_the_existing_file(suffix: str, tmp_path: Path):
    path = tmp_path / f"x{suffix}"
    failed = Features(ids=(), by_layer={"norm": np.empty((0, 3), np.float32)}, errors=(SampleError("a.jpg", "empty"),))
    failed.save(path)  # there is no previous file yet
    failed.save(path)
    batch().save(path)
    before = path.read_bytes()
    with pytest.raises(
        EmptyResultError, match=r"1 failed, the first is a\.jpg: empty\. .* is left as it was"
    ) as caught:
        failed.save(path)
    assert caught.value.path == path
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"precious")
    with pytest.raises(EmptyResultError):
        failed.save(path)
    assert path.read_bytes() == b"precious"


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path: Path):
    script = """
        import sys
        import numpy as np
        from layerzoo.features import Features, FeatureWriter

        with FeatureWriter(sys.argv[1]) as out:
            while True:
                out.write(Features(ids=("a",) * 1000, by_layer={"x": np.zeros((1000, 500), np.float32)}))
                sys.stdout.write("more\\n")
                sys.stdout.flush()
    """
    path = tmp_path / "x.parquet"
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(10):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    assert any(tmp_path.iterdir())
    assert not path.exists()


@formats
def test_a_full_disk_is_reported_and_leaves_no_file(suffix: str, tmp_path: Path):
    def write_10_mb() -> None:
        with FeatureWriter(tmp_path / f"x{suffix}") as out:
            for _ in range(10):
                out.write(Features(ids=("a",) * 500, by_layer={"x": rng.random((500, 500), np.float32)}))

    rng = np.random.default_rng(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OutputError, match="disk is full") as caught:
            write_10_mb()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.path == tmp_path / f"x{suffix}"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_reported_before_writing(tmp_path: Path):
    with pytest.raises(OutputError, match=f"there is no folder {tmp_path / 'out'}"):
        FeatureWriter(tmp_path / "out" / "x.parquet").__enter__()


def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path):
    (tmp_path / "x.parquet").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        FeatureWriter(tmp_path / "x.parquet").__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="is not writable for you"):
        FeatureWriter(tmp_path / "x.parquet").__enter__()


@pytest.mark.parametrize(("name", "message"), [("x.pkl", "no format is called '.pkl'"), ("x", "no suffix")])
def test_the_error_for_an_unknown_suffix_lists_the_formats(name: str, message: str, tmp_path: Path):
    with pytest.raises(UsageError, match=rf"{message}.*\.parquet, \.npz, \.safetensors"):
        batch().save(tmp_path / name)


def test_a_provenance_that_is_not_json_is_refused_at_the_first_batch(tmp_path: Path):
    with pytest.raises(UsageError, match="provenance"), FeatureWriter(tmp_path / "x.parquet") as out:
        out.write(Features(ids=("a",), by_layer={}, provenance={"device": object()}))


def test_batches_of_other_layers_are_refused(tmp_path: Path):
    with FeatureWriter(tmp_path / "x.parquet") as out:
        out.write(batch())
        with pytest.raises(UsageError, match=r"differ in their layers: block\.1, then norm"):
            out.write(Features(ids=("a",), by_layer={"norm": np.zeros((1, 2), np.float32)}))


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path):
    script = """
        import resource, sys
        import numpy as np
        import pyarrow.parquet
        from layerzoo.features import Features, FeatureWriter

        values = np.random.default_rng(0).random((64, 384), np.float32)
        with FeatureWriter(sys.argv[1]) as out:
            for start in range(0, int(sys.argv[2]), 64):
                out.write(Features(ids=tuple(map(str, range(start, start + 64))), by_layer={"x": values}))
        sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
    """

    def peak_mb(samples: int) -> int:
        arguments = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "x.npz"), str(samples)]
        return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)

    # 80,000 more samples are 123 MB of numbers.
    assert peak_mb(100_032) - peak_mb(20_032) < 40


@formats
def test_loading_needs_no_torch(suffix: str, tmp_path: Path):
    batch().save(tmp_path / f"x{suffix}")
    script = """
        import sys
        from layerzoo.features import Features

        Features.load(sys.argv[1])
        sys.exit("torch" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path / f"x{suffix}")], check=True)


def test_importing_features_imports_numpy_and_nothing_heavy():
    script = """
        import sys
        import layerzoo.features

        sys.exit(bool({"pyarrow", "torch", "safetensors", "pandas"} & set(sys.modules)))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


@formats
def test_a_missing_file_is_reported(suffix: str, tmp_path: Path):
    with pytest.raises(InputError, match="there is no file"):
        Features.load(tmp_path / f"x{suffix}")


@formats
@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_damaged_file_raises_a_layerzoo_error_or_is_read(
    suffix: str, tmp_path_factory: pytest.TempPathFactory, cut: float, flip: int
):
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    batch(n=4, m=8).save(path)
    whole = path.read_bytes()
    at = int(cut * len(whole))
    for damaged in (whole[:at], whole[:at] + bytes([flip]) + whole[at + 1 :]):
        path.write_bytes(damaged)
        with contextlib.suppress(
            InputError
        ):  # a flipped bit of a number is no error; anything else must raise this error
            Features.load(path)


@formats
def test_a_file_of_another_program_is_reported(suffix: str, tmp_path: Path):
    from safetensors.numpy import save_file

    path = tmp_path / f"x{suffix}"
    match suffix:
        case ".parquet":
            pq.write_table(pa.table({"id": ["a"], "x": [1.0]}), path)
        case ".npz":
            np.savez(path, x=np.zeros(3))
        case ".safetensors":
            save_file({"x": np.zeros(3)}, path)
    with pytest.raises(InputError, match="was not written by layerzoo"):
        Features.load(path)


def test_a_pickle_in_an_archive_is_not_opened(tmp_path: Path):
    path = tmp_path / "x.npz"
    batch().save(path)
    with np.load(path) as archive:
        summary = archive["layerzoo.json"]
    np.savez(path, **{"id": np.array(["a", {}], dtype=object), "block.1": np.zeros((2, 3), np.float32)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("layerzoo.json", summary)
    with pytest.raises(InputError, match="allow_pickle=False"):
        Features.load(path)
