"""zoo features verify: a line for each file, and an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from tools.torture.features import example

from layerzoo.cli import main
from layerzoo.errors import InputError
from layerzoo.features import Features
from layerzoo.runs.export import export


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["features", "verify", *arguments])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_intact_files_and_files_of_other_programs_are_no_failure(
    bare_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("parquet", "npz", "safetensors"):
        example().save(f"ours.{suffix}")
    pq.write_table(pa.table({"id": ["a"]}), "theirs.parquet")
    np.savez_compressed("theirs.npz", x=np.zeros(3))
    save_file({"x": np.zeros(3)}, "theirs.safetensors")
    names = [f"{who}.{suffix}" for who in ("ours", "theirs") for suffix in ("parquet", "npz", "safetensors")]
    code, out, err = run(capsys, *names)
    assert (code, err) == (0, "3 no digests, 3 ok\n")
    rows = json.loads(out)
    assert [row["file"] for row in rows] == names
    assert [row["state"] for row in rows] == ["ok"] * 3 + ["no digests"] * 3
    assert {row["detail"] for row in rows[3:]} == {"it was not written by layerzoo"}


@pytest.mark.parametrize("suffix", ["parquet", "npz", "safetensors"])
def test_a_damaged_file_is_named_and_the_others_are_verified(
    bare_home: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    damaged = Path(f"a.{suffix}")
    example(rows=500, width=64).save(damaged)
    example().save(f"b.{suffix}")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    Path(f"c.{suffix}").write_text("no such format")
    code, out, err = run(capsys, *(f"{name}.{suffix}" for name in "abcd"))
    assert code == 1
    assert [row["state"] for row in json.loads(out)] == ["damaged", "ok", "damaged", "missing"]
    assert err == "2 damaged, 1 missing, 1 ok\n"


def test_a_file_without_its_metadata_is_damaged_and_not_of_another_program(
    bare_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example().save("a.safetensors")
    content = Path("a.safetensors").read_bytes()
    Path("a.safetensors").write_bytes(content.replace(b'"layerzoo":', b'"mayerzoo":'))
    assert run(capsys, "a.safetensors")[0] == 1


def test_a_name_of_nothing_is_named(bare_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("features-run").mkdir()
    for name, hint in (("feature-run", ". Nearest: features-run"), ("nothing.txt", "")):
        code, out, err = run(capsys, name)
        assert (code, out, err) == (2, "", f"zoo: {name}: no such file or folder{hint}\n")
    with pytest.raises(InputError, match="there is no file or folder nothing"):
        Features.load("nothing")
    with pytest.raises(InputError, match=r"there is no folder .*nothing"):
        export("nothing", "npy", "arrays")


def test_a_file_of_another_format_is_wrong_usage(bare_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.txt").touch()
    code, _, err = run(capsys, "a.txt")
    assert (code, err) == (
        2,
        "zoo: a.txt: no format is called '.txt'. Possible: .parquet, .npz, .safetensors, .csv, .npy\n",
    )
