"""Damaged and crafted files of features, and damaged converted checkpoints.

A damaged file must be refused, or read as exactly what was written. A crafted file must be refused with an
InputError before it takes memory.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tools.torture.outcome import Outcome

from layerzoo.errors import InputError, LayerzooError, SampleError
from layerzoo.features import Features
from layerzoo.features.features import ragged
from layerzoo.features.formats import verify

SUFFIXES = (".parquet", ".npz", ".safetensors")
_ALL_BITS_FROM = 40
"""The count from which every bit of the small files is flipped."""
_MEMORY_BYTES = 2 << 30
"""The total memory of a process that reads a crafted file, of which Python and its libraries take 0.6 GB."""

_READ_ONE = """
import resource, sys
import numpy, pyarrow.parquet, safetensors, zipfile
from layerzoo.errors import InputError
from layerzoo.features import Features
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
for line in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        Features.load(line.rstrip("\\n"))
    except InputError as error:
        found = "InputError" if len(str(error)) < 2000 else "a message of more than 2,000 characters"
    except BaseException as error:
        found = type(error).__name__
    else:
        found = "no error"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(found if grown < 600_000 else f"{found}, and {grown // 1000} MB of memory", flush=True)
"""


def attacks(random_: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Damage and craft files; see :data:`tools.torture.outcome.Family`."""
    for suffix in SUFFIXES:
        yield _flipped(random_, scratch, suffix, count)
        yield _flipped_large(random_, scratch, suffix, count)
        yield _mutated(random_, scratch, suffix, count)
    yield _crafted(scratch)
    yield _converted(random_, scratch, count)


# ---------------------------------------------------------------- damage


def example(rows: int = 4, width: int = 3) -> Features:
    """Return features with everything that a file can contain: two kinds of layers, failed samples, counts, times."""
    rng = np.random.default_rng(rows)
    samples = [rng.standard_normal((1 + number % 2, 2)).astype(np.float32) for number in range(rows)]
    return Features(
        ids=tuple(f"photos/{number}.jpg" for number in range(rows)),
        by_layer={"norm": rng.standard_normal((rows, width)).astype(np.float32), "raw": ragged(samples)},
        provenance={"model": "acme/net", "versions": {"torch": "2.14"}, "seed": 7},
        errors=(SampleError("photos/x.jpg", "truncated JPEG"),),
        report={"truncated": 2},
        passed_over=("notes.txt",),
        times_s=tuple((0.5 * number, 1.5) for number in range(rows)),
    )


def is_same(one: Features, other: Features) -> bool:
    """Return whether two sets of features are equal bit for bit for a user."""
    return (
        one.ids == other.ids
        and one.layers == other.layers
        and all(
            len(one[layer]) == len(other[layer])
            and all(
                np.shape(left) == np.shape(right) and left.tobytes() == right.tobytes()
                for left, right in zip(one[layer], other[layer], strict=True)
            )
            for layer in one.layers
        )
        and one.provenance == other.provenance
        and [(error.id, error.reason) for error in one.errors] == [(error.id, error.reason) for error in other.errors]
        and one.report == other.report
        and one.passed_over == other.passed_over
        and one.times_s == other.times_s
    )


def problem_of(path: Path, written: Features) -> str | None:
    """Return how a damaged file misleads its reader; None if it is refused, or read as it was written."""
    try:
        found = Features.load(path)
    except InputError:
        return None
    except BaseException as error:  # noqa: BLE001 - any other error is a failure of the promise
        return f"{type(error).__name__}: {str(error)[:200]}"
    if not is_same(found, written):
        return "it reads as something else"
    try:
        verify(path)
    except InputError:
        return None
    return None


def _flipped(random_: random.Random, scratch: Path, suffix: str, count: int) -> Outcome:
    written, path = example(), scratch / f"small{suffix}"
    written.save(path)
    bits = range(8 * path.stat().st_size)
    chosen = bits if count >= _ALL_BITS_FROM else random_.sample(bits, 10 * count)
    return _outcome(
        f"one bit flipped in a small {suffix} file{' (every bit)' if chosen is bits else ''}", path, written, chosen
    )


def _flipped_large(random_: random.Random, scratch: Path, suffix: str, count: int) -> Outcome:
    written, path = example(rows=3000, width=64), scratch / f"large{suffix}"
    written.save(path)
    chosen = random_.sample(range(8 * path.stat().st_size), 20 * count)
    return _outcome(f"one bit flipped in a {suffix} file of 3,000 samples", path, written, chosen)


def _outcome(attack: str, path: Path, written: Features, bits: Sequence[int]) -> Outcome:
    whole = path.read_bytes()
    damaged = path.with_name(f"damaged{path.suffix}")
    failures = []
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(content)
        if problem := problem_of(damaged, written):
            failures.append(f"{attack}, bit {bit}: {problem}")
    return Outcome(
        attack, len(bits), len(bits) - len(failures), "InputError, or exactly what was written", tuple(failures[:10])
    )


def _mutated(random_: random.Random, scratch: Path, suffix: str, count: int) -> Outcome:
    """Overwrite, remove, insert, repeat or exchange bytes, several times."""
    written, path = example(rows=20), scratch / f"mutated{suffix}"
    written.save(path)
    whole = path.read_bytes()
    attack = f"bytes of a {suffix} file changed, removed, inserted, repeated"
    failures = []
    for _ in range(10 * count):
        path.write_bytes(_mutation(random_, whole))
        if problem := problem_of(path, written):
            failures.append(f"{attack}: {problem}")
    return Outcome(
        attack, 10 * count, 10 * count - len(failures), "InputError, or exactly what was written", tuple(failures[:10])
    )


def _mutation(random_: random.Random, whole: bytes) -> bytes:
    content = bytearray(whole)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(content) or 1)
        length = random_.choice((1, 2, 4, 8, 100))
        match random_.randrange(5):
            case 0:
                content[at : at + length] = random_.randbytes(length)
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = random_.choice((b"\xff", b"\x00", b"9", b"[", b"(")) * length
            case 3:
                content[at:at] = content[at : at + length]
            case 4:
                content[at : at + length] = b"\xff" * min(length, len(content) - at)
    return bytes(content)


# ---------------------------------------------------------------- crafted files


def crafted(folder: Path) -> Iterator[Path]:
    """Write files that claim or contain values that take much memory, time or recursion depth."""
    for name, text in _summaries().items():
        yield _npz(folder / f"summary-{name}.npz", text)
        yield _safetensors(folder / f"summary-{name}.safetensors", {"ids": "[]", "layerzoo": text})
        yield _parquet(folder / f"summary-{name}.parquet", text)
    for name, header in _numpy_headers().items():
        yield _npz(folder / f"header-{name}.npz", _summary([4]), header)
    yield _zip_bomb(folder / "bomb.npz")
    yield _safetensors_with(folder / "header-length.safetensors", struct.pack("<Q", 1 << 62))
    yield _safetensors_with(folder / "header-nested.safetensors", _with_length(b'{"a":' * 200_000))
    for name, ids in {"nested": "[" * 200_000, "number": "9" * 200_000, "map": '{"a": 1}', "numbers": "[1, 2]"}.items():
        yield _safetensors(folder / f"ids-{name}.safetensors", {"ids": ids, "layerzoo": _summary([0])})
    for name, shape in {"huge": [1 << 40, 1 << 40], "negative": [-1, 4], "float": [1.5, 4]}.items():
        tensors = {"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}
        yield _safetensors(folder / f"shape-{name}.safetensors", {"ids": '["a"]', "layerzoo": _summary([4])}, tensors)
    yield from _parquet_bombs(folder)


def _summary(shape: Any) -> str:
    plain = {"format": 1, "shapes": {"x": shape}, "provenance": {}, "errors": [], "report": {}, "passed_over": []}
    return json.dumps(plain)


def _summaries() -> dict[str, str]:
    return {
        "nested": "[" * 200_000,
        "nested-provenance": _summary([4]).replace('"provenance": {}', f'"provenance": {"[" * 90_000}{"]" * 90_000}'),
        "digits": _summary([4]).replace("[4]", f"[{'9' * 100_000}]"),
        "huge": _summary([1 << 60]),
        "infinite": _summary([4]).replace("[4]", "[1e400]"),
        "negative": _summary([-4]),
        "text": _summary("4"),
        "true": _summary([True]),
        "many-axes": _summary([1] * 1000),
        "list": "[]",
        "nothing": "",
        "surrogate": _summary([4]).replace('"x"', '"\\ud800"'),
        "reserved": _summary([4]).replace('"x"', '"id"'),
        "format": _summary([4]).replace('"format": 1', '"format": {}'),
        "errors": _summary([4]).replace('"errors": []', '"errors": [[1]]'),
        "times": _summary([4]).replace('"passed_over": []', '"passed_over": [], "times_s": [[[]]]'),
        "digests": _summary([4]).replace('"format": 1', '"format": 2, "digests": 7'),
    }


def _numpy_headers() -> dict[str, bytes]:
    usual = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"
    return {
        "brackets": b"(" * 60_000,
        "short-brackets": b"(" * 9_000,
        "minus": b"-" * 9_000 + b"1",
        "token": b"{'descr': '<f4', 'shape': (1, '''",
        "null": b"\x00" * 100,
        "huge": (usual % (1 << 40, 1 << 40).__repr__()).encode(),
        "overflow": (usual % f"({2**63}, {2**63})").encode(),
        "negative": (usual % "(-1, -4)").encode(),
        "digits": (usual % f"({'9' * 9000},)").encode(),
        "object": (usual.replace("<f4", "|O") % "(1,)").encode(),
        "text": (usual.replace("<f4", "<U999999999") % "(1,)").encode(),
        "fields": (usual.replace("'<f4'", "[('a', '<f4')]") % "(1, 4)").encode(),
        "fortran": (usual.replace("False", "True") % "(1, 4)").encode(),
        "call": b"__import__('os').abort()",
    }


def _npz(path: Path, summary: str, header: bytes | None = None) -> Path:
    """Return an archive with one id, a layer x of four numbers or with another header, and a summary."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("layerzoo.json", summary)
        archive.writestr("id.npy", _npy(np.array(["a"])))
        if header is None:
            archive.writestr("x.npy", _npy(np.zeros((1, 4), np.float32)))
        else:
            archive.writestr("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + bytes(16))
    return path


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip_bomb(path: Path) -> Path:
    """Return 400 MB of zeros, compressed to 0.4 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("layerzoo.json", _summary([1 << 20]))
        archive.writestr("id.npy", _npy(np.array(["a"] * 100)))
        with archive.open("x.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_2_0(
                member, {"descr": "<f4", "fortran_order": False, "shape": (100, 1 << 20)}
            )
            for _ in range(100):
                member.write(bytes(4 << 20))
    return path


def _safetensors(path: Path, metadata: dict[str, str], header: dict[str, Any] | None = None) -> Path:
    tensors = header or {"x": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}}
    return _safetensors_with(path, _with_length(json.dumps({"__metadata__": metadata, **tensors}).encode()) + bytes(16))


def _with_length(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _safetensors_with(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _parquet(path: Path, summary: str) -> Path:
    column = pa.array([[0.0] * 4], pa.list_(pa.float32(), 4))
    table = pa.table({"id": ["a"], "x": column}).replace_schema_metadata({"layerzoo": summary})
    pq.write_table(table, path)
    return path


def _parquet_bombs(folder: Path) -> Iterator[Path]:
    """Write a few bytes that are decoded to many: runs of one value, in ids and in numbers."""
    rows = 3_000_000
    numbers = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([1.0], pa.float32()))
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a" * 100_000]))
    table = pa.table({"id": ids, "x": numbers}).replace_schema_metadata({"layerzoo": _summary([256])})
    pq.write_table(table, folder / "long-ids.parquet", compression="zstd")
    yield folder / "long-ids.parquet"
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a"]))
    for name, shape in {"vectors": [256], "numbers": []}.items():
        table = pa.table({"id": ids, "x": numbers}).replace_schema_metadata({"layerzoo": _summary(shape)})
        pq.write_table(table, folder / f"runs-{name}.parquet", compression="zstd")
        yield folder / f"runs-{name}.parquet"


def outcomes_of(paths: Sequence[Path], memory_bytes: int = _MEMORY_BYTES) -> Iterator[tuple[Path, str]]:
    """Read files in a process with little memory. Yield each outcome: the type of the error, or the exit status."""
    waiting = list(paths)
    while waiting:
        told = "".join(f"{path}\n" for path in waiting)
        run = [sys.executable, "-c", _READ_ONE, str(memory_bytes)]
        done = subprocess.run(run, input=told, capture_output=True, text=True, check=False, timeout=600)
        found = done.stdout.splitlines()
        yield from zip(waiting, found, strict=False)
        if len(found) < len(waiting):
            yield waiting[len(found)], f"the process ended with {done.returncode}"
        waiting = waiting[len(found) + 1 :]


def _crafted(scratch: Path) -> Outcome:
    folder = scratch / "crafted"
    folder.mkdir()
    found = list(outcomes_of(list(crafted(folder))))
    failures = [f"{path.name}: {outcome}" for path, outcome in found if outcome != "InputError"]
    return Outcome(
        "crafted files: huge counts, bombs, deep JSON, headers that are no headers",
        len(found),
        len(found) - len(failures),
        "InputError, with less than 0.6 GB of memory",
        tuple(failures[:10]),
    )


# ---------------------------------------------------------------- converted checkpoints


def _converted(random_: random.Random, scratch: Path, count: int) -> Outcome:
    """Flip a bit of a converted checkpoint; load it; the tensors must be those of the pickle."""
    import torch

    import layerzoo
    from layerzoo.testing.toy import NextWord

    before = os.environ.get("LAYERZOO_CACHE")
    os.environ["LAYERZOO_CACHE"] = str(scratch / "cache")
    attack = "one bit flipped in a checkpoint that was converted from a pickle"
    failures = []
    try:
        torch.save(NextWord().state_dict(), scratch / "net.pth")

        def loaded() -> dict[str, Any]:
            backbone = layerzoo.load("toy/next-word", weights=scratch / "net.pth", allow_pickle=True)
            return {name: tensor.numpy().tobytes() for name, tensor in backbone.module.state_dict().items()}

        expected = loaded()
        (kept,) = (scratch / "cache" / "converted").glob("*.safetensors")
        whole = kept.read_bytes()
        for bit in random_.sample(range(8 * len(whole)), count):
            content = bytearray(whole)
            content[bit // 8] ^= 1 << bit % 8
            kept.write_bytes(content)
            try:
                if loaded() != expected:
                    failures.append(f"bit {bit}: other tensors were loaded")
            except LayerzooError as error:
                failures.append(f"bit {bit}: {error}")
    finally:
        os.environ.pop("LAYERZOO_CACHE")
        if before is not None:
            os.environ["LAYERZOO_CACHE"] = before
    return Outcome(
        attack,
        count,
        count - len(failures),
        "it is noticed, and converted again before anything of it is used",
        tuple(failures[:10]),
    )
