"""The inputs of a run: files that change or disappear, URLs, and object stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import layerzoo
from layerzoo.errors import InputError, MissingLibraryError, MissingOnServerError, OfflineError, UnfinishedRunError
from layerzoo.media.samples import Samples
from layerzoo.runs import status, verify
from layerzoo.runs.loading import load
from layerzoo.weights.network.objects import ObjectFolder

MODEL = "varying/image"
run = partial(layerzoo.run, MODEL, weights="random:0")
extract = partial(layerzoo.extract, MODEL, weights="random:0")
NAMES = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture
def photos(home: Path, install: Callable[..., None]) -> Path:
    """Install a small network for images, and write four images."""
    install("varying")
    (home / "photos").mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(home / "photos" / name)
    return home / "photos"


def errors_of(folder: Path) -> dict[str, str]:
    tables = map(pq.read_table, sorted(folder.glob("part-*.parquet")))
    rows = [row for table in tables for row in table.select(["id", "error"]).to_pylist()]
    return {Path(row["id"]).name: row["error"] for row in rows if row["error"] is not None}


def test_a_file_that_changes_or_disappears_after_the_start_is_a_failed_row(photos: Path, home: Path) -> None:
    folder = home / "run"
    run("photos", out=folder, shard_size=2, shard=(0, 2))
    (photos / "c.png").unlink()
    Image.new("RGB", (30, 30)).save(photos / "d.png")
    assert run("photos", out=folder).failed == 2
    errors = errors_of(folder)
    assert errors["c.png"] == "no such file; the file was there when the run began"
    assert errors["d.png"].startswith("changed since the run began")
    assert layerzoo.run(out=folder, retry_failed=True).failed == 1
    expected = extract("photos/d.png").values[0]
    np.testing.assert_allclose(layerzoo.Features.load(folder).values[-1], expected, atol=1e-6)


def test_files_that_were_added_after_the_start_are_counted(
    photos: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "more").mkdir()
    run(["photos", "photos/*/*.png", "photos/a.png"], out="run", shard_size=4, shard=(0, 2))
    (photos / "notes.txt").touch()
    layerzoo.run(out="run")
    assert not caplog.messages
    for name in ("0.png", "more/e.png"):
        (photos / name).write_bytes((photos / "a.png").read_bytes())
    for _ in range(2):
        caplog.clear()
        assert layerzoo.run(out="run").left == 0
        (message,) = caplog.messages
        assert message.startswith(f"{home / 'run'}: 2 files were added since the run began, and are not in it. Next:")
    (photos / "0.png").unlink()
    (photos / "more/e.png").unlink()
    run(["photos"], out="run2")
    (photos / "0.png").touch()
    caplog.clear()
    layerzoo.run(out="run2")
    assert "1 file was added since the run began, and is not in it" in caplog.text


def test_a_file_that_changes_while_its_shard_is_computed_is_a_failed_row(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layerzoo.runtime.extraction import PreparedExtraction

    before = PreparedExtraction.pieces
    run("photos", out=home / "run", shard_size=4, shard=(1, 2))  # no shard: it is created alone

    def pieces(extraction: PreparedExtraction, samples: Samples) -> Iterator[Any]:
        for piece in before(extraction, samples):
            os.utime(photos / "b.png", (1, 1))
            yield piece

    monkeypatch.setattr(PreparedExtraction, "pieces", pieces)
    run("photos", out=home / "run")
    assert list(errors_of(home / "run")) == ["b.png"]
    assert {check.state for check in verify(home / "run")} == {"ok"}


def test_a_run_in_an_object_store_has_the_features_of_a_run_on_a_disk(photos: Path, home: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(photos), "/bucket/photos", recursive=True)
    url = "memory://bucket/run"
    result = run("memory://bucket/photos", out=url, shard_size=3)
    assert (result.samples, result.failed, result.left) == (4, 0, 0)
    expected = extract("photos")
    features = load(url)
    assert features.ids == tuple(f"memory://bucket/photos/{name}" for name in NAMES)
    np.testing.assert_allclose(features.values, expected.values, atol=1e-6)
    store.rm("/bucket/run/part-000001.parquet")
    assert status(url).left == 1
    with pytest.raises(UnfinishedRunError, match=r"^memory://bucket/run: 1 of 2 parts are missing"):
        load(url)
    assert layerzoo.run(out=url).left == 0
    assert {check.state for check in verify(url)} == {"ok"}


def test_several_processes_may_check_one_object_store_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    write = store.pipe_file

    def write_and_lose(path: str, content: bytes) -> None:
        write(path, content)
        store.rm_file(path)  # as another process does that wrote the same file

    monkeypatch.setattr(store, "pipe_file", write_and_lose)
    ObjectFolder("memory://bucket/run").check_writable()


def test_a_url_without_a_run_is_named(home: Path) -> None:
    with pytest.raises(InputError, match=r"^memory://bucket/nothing is not the folder of a run"):
        load("memory://bucket/nothing")


def test_texts_at_urls_are_read_when_the_run_begins(home: Path) -> None:
    fsspec.filesystem("memory").pipe({"/texts/a.txt": b"the cat\nmilk\n", "/texts/b.csv": b"text,n\nmeat,1\n"})
    layerzoo.run("toy/next-word", "memory://texts/*", out=home / "run")
    assert layerzoo.Features.load(home / "run").ids == (
        "memory://texts/a.txt:1",
        "memory://texts/a.txt:2",
        "memory://texts/b.csv:1",
    )


@pytest.fixture
def server(photos: Path) -> Iterator[str]:
    handler = partial(_Silent, directory=str(photos))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        return


def test_files_of_a_web_server_are_inputs_and_a_missing_one_is_named(server: str, photos: Path, home: Path) -> None:
    run([Path(f"{server}/a.png"), Path(f"{server}/b.png")], out=home / "run")
    expected = extract(["photos/a.png", "photos/b.png"])
    np.testing.assert_allclose(layerzoo.Features.load(home / "run").values, expected.values, atol=1e-6)
    with pytest.raises(MissingOnServerError, match="no such file"):
        run(f"{server}/z.png", out=home / "other")


def test_urls_are_refused_offline_and_without_their_library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingLibraryError, match="s3fs"):
        layerzoo.run("toy/next-word", "s3://bucket/a.txt", out=home / "run")
    with pytest.raises(InputError, match="fsspec knows no protocol 'nowhere'"):
        layerzoo.run("toy/next-word", "nowhere://bucket/a.txt", out=home / "run")
    monkeypatch.setenv("LAYERZOO_OFFLINE", "1")
    with pytest.raises(OfflineError):
        layerzoo.run("toy/next-word", "http://127.0.0.1:9/a.txt", out=home / "run")
