"""The files of a model in a repository of the hub: the resolved commit, and the requests that are sent or avoided."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import hf_hub_download
from safetensors.numpy import save
from tests.hub import Hub, Repository

from layerzoo.errors import (
    AccessDeniedError,
    CacheError,
    ChangedError,
    DigestError,
    DriftError,
    LayerzooError,
    MissingOnServerError,
    OfflineError,
    ServerError,
    UnsafeWeightsError,
)
from layerzoo.lock import Lock, LockedFile, LockedModel
from layerzoo.spec import Weights
from layerzoo.weights import Files, resolve
from layerzoo.weights.repository import Extent

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b": np.ones((200, 100), np.float32)})
FILE = "*.safetensors"
VIT = "hf://acme/vit"


@pytest.fixture
def vit(connected: Hub) -> Repository:
    repository = connected.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS, "onnx/model.onnx": b"\0" * 100})
    return repository


def take(source: str = VIT, *, want: Extent = "whole", model: str = "mine/vit", **sha256: str) -> Files:
    digests = {name.replace("__", "."): digest for name, digest in sha256.items()}
    return resolve(Weights(source=source, sha256=tuple(digests.items())), model=model, extent=want)


def snapshot(home: Path, revision: str) -> Path:
    return home.parent / "huggingface/hub/models--acme--vit/snapshots" / revision


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- which commit


def test_a_branch_resolves_to_its_current_commit(vit: Repository, home: Path) -> None:
    files = take()
    revision = vit.at("main").revision
    assert set(files) == {"config.json", "model.safetensors"}
    assert files["model.safetensors"] == snapshot(home, revision) / "model.safetensors"
    assert files["model.safetensors"].read_bytes() == WEIGHTS
    assert files.origin is not None
    assert (files.origin.revision, files.origin.pinned_by, files.origin.lock_sha256) == (revision, None, None)


def test_tags_and_commits_resolve_to_themselves(vit: Repository) -> None:
    first = vit.at("main").revision
    vit.tag("v1")
    second = vit.commit({"model.safetensors": save({"a": np.zeros(3, np.float32)})})
    found = [take(source).origin for source in (f"{VIT}@v1", f"{VIT}@{first}", f"{VIT}@{second}", VIT)]
    assert [(each.revision, each.pinned_by) for each in found if each] == [
        (first, None),
        (first, "declaration"),
        (second, "declaration"),
        (second, None),
    ]


def test_a_pinned_commit_is_requested_once(connected: Hub, vit: Repository) -> None:
    source = f"{VIT}@{vit.at('main').revision}"
    take(source)
    connected.requests.clear()
    assert take(source)["model.safetensors"].read_bytes() == WEIGHTS
    assert connected.requests == []


def test_an_unpinned_source_is_reported_once(connected: Hub, caplog: pytest.LogCaptureFixture) -> None:
    revision = connected.repository("acme/unpinned").commit({"config.json": "{}", "model.safetensors": WEIGHTS})
    with caplog.at_level(logging.WARNING, "layerzoo"):
        take("hf://acme/unpinned")
        take("hf://acme/unpinned")
    reported = [record.getMessage() for record in caplog.records if record.name == "layerzoo"]
    assert reported == [
        f"hf://acme/unpinned is not pinned: today it is {revision}. "
        "To keep it at that: zoo lock, or write the commit after an @"
    ]


def test_a_moved_branch_is_followed_without_downloading_unchanged_files(
    connected: Hub, vit: Repository, home: Path
) -> None:
    take()
    revision = vit.commit({"config.json": '{"new": 1}'})
    connected.requests.clear()
    files = take()
    assert files["config.json"].read_text() == '{"new": 1}'
    assert files["model.safetensors"] == snapshot(home, revision) / "model.safetensors"
    assert files["model.safetensors"].read_bytes() == WEIGHTS
    assert connected.bytes_sent(FILE) == 0


def test_files_downloaded_by_another_program_are_reused(connected: Hub, vit: Repository, home: Path) -> None:
    revision = vit.at("main").revision
    for name in ("config.json", "model.safetensors"):
        hf_hub_download("acme/vit", name, endpoint=connected.url, cache_dir=home.parent / "huggingface/hub")
    connected.requests.clear()
    take(f"{VIT}@{revision}")
    assert [request.path for request in connected.requests] == [f"/api/models/acme/vit/revision/{revision}"]


def test_downloaded_files_are_available_to_other_programs(
    connected: Hub, vit: Repository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take()
    connected.requests.clear()
    cache = home.parent / "huggingface/hub"
    path = hf_hub_download("acme/vit", "model.safetensors", endpoint=connected.url, cache_dir=cache)
    assert Path(path).read_bytes() == WEIGHTS
    assert connected.bytes_sent() == 0


def test_the_token_is_not_sent_to_another_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub(cdn=True) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(home.parent / "huggingface"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.repository("acme/vit", token="hf_secret").commit({"config.json": "{}", "model.safetensors": WEIGHTS})
        assert take()["model.safetensors"].read_bytes() == WEIGHTS
        assert {request.token for request in hub.requests if request.path.startswith("/cdn/")} == {None}
        assert {request.token for request in hub.requests if not request.path.startswith("/cdn/")} == {"hf_secret"}


def test_a_folder_of_a_repository_is_a_model(connected: Hub) -> None:
    small = save({"a": np.zeros(3, np.float32)})
    repository = connected.repository("acme/many")
    repository.commit({"small/config.json": "{}", "small/model.safetensors": small, "large/model.safetensors": WEIGHTS})
    files = take("hf://acme/many/small/")
    assert set(files) == {"config.json", "model.safetensors"}
    assert files.folder is not None
    assert files["config.json"].parent == files.folder


def test_only_files_that_a_builder_may_read_are_downloaded_with_the_checkpoint(connected: Hub) -> None:
    files: dict[str, bytes | str | None] = {
        "config.json": "{}",
        "vocab.txt": "a",
        "run.py": "1/0",
        "README.md": "",
        "model.safetensors": WEIGHTS,
    }
    repository = connected.repository("acme/vit")
    repository.commit({**files, "pytorch_model.bin": b"pickle", "optimizer.pt": b"", "sub/config.json": "{}"})
    assert set(take()) == {"config.json", "vocab.txt", "model.safetensors"}


# ---------------------------------------------------------------- offline


@pytest.mark.parametrize("variable", ["LAYERZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_no_request_is_sent_and_the_error_names_the_download_command(
    connected: Hub, vit: Repository, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(
        OfflineError, match=r"no connection may be opened .*Next, with a connection: zoo pull mine/vit$"
    ):
        take()
    assert connected.requests == []


def test_offline_a_branch_resolves_to_its_last_known_commit(
    connected: Hub, vit: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = take().origin
    vit.commit({"config.json": "[]"})
    connected.requests.clear()
    monkeypatch.setenv("LAYERZOO_OFFLINE", "1")
    assert take().origin == before
    assert connected.requests == []
    assert "the hub cannot be asked now, and when it was seen last it was" in caplog.text


def test_offline_files_downloaded_by_another_program_are_used(
    connected: Hub, vit: Repository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.json", "model.safetensors"):
        hf_hub_download("acme/vit", name, endpoint=connected.url, cache_dir=home.parent / "huggingface/hub")
    monkeypatch.setenv("LAYERZOO_OFFLINE", "1")
    assert take()["model.safetensors"].read_bytes() == WEIGHTS


def test_offline_no_socket_is_created(connected: Hub, vit: Repository, home: Path) -> None:
    """Not even to look up a host: creating a socket fails in this process."""
    take()
    program = """
import socket
class NoSocket(socket.socket):
    def __init__(self, *args, **kwargs):
        raise SystemExit("a socket was made")
socket.socket = NoSocket
def refuse(*args, **kwargs):
    raise SystemExit("a name was looked up")
socket.getaddrinfo = socket.create_connection = refuse
from layerzoo.errors import OfflineError
from layerzoo.spec import Weights
from layerzoo.weights import resolve
print(sorted(resolve(Weights(source="hf://acme/vit"), model="mine/vit")))
try:
    resolve(Weights(source="hf://acme/other"), model="mine/other")
except OfflineError as error:
    print(error)
"""
    done = run(program, connected, home, LAYERZOO_OFFLINE="1")
    assert done.stdout.splitlines() == [
        "['config.json', 'model.safetensors']",
        "hf://acme/other@main is not on this machine, and no connection may be opened (offline). "
        "Next, with a connection: zoo pull mine/other",
    ], done.stderr


def run(program: str, hub: Hub, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("LAYERZOO_CACHE", "XDG_CONFIG_HOME")}
    environment = hub.environment(home.parent / "huggingface", **kept, **variables)
    return subprocess.run([sys.executable, "-c", program], env=environment, cwd=home, capture_output=True, text=True)


# ---------------------------------------------------------------- access


@pytest.mark.parametrize(
    ("private", "token", "message"),
    [
        (
            False,
            None,
            r"gives its files to those with access alone, and you sent no token \(401\)\. Next: ask for access",
        ),
        (False, "hf_other", r"gives its files to those with access alone, and your token has none \(403\)"),
        (True, None, r"there is no such repository, or it is private and your token has no access \(401\)"),
        (True, "hf_other", r"there is no such repository, or it is private and your token has no access \(404\)"),
    ],
)
def test_the_error_for_a_gated_repository_explains_how_to_get_access(
    connected: Hub, monkeypatch: pytest.MonkeyPatch, private: bool, token: str | None, message: str
) -> None:
    repository = connected.repository("acme/vit", token="hf_right", private=private)
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AccessDeniedError, match=message):
        take()
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert take()["model.safetensors"].read_bytes() == WEIGHTS


# ---------------------------------------------------------------- missing objects


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("hf://acme/nobody", AccessDeniedError, "there is no such repository, or it is private"),
        (f"{VIT}@v9", MissingOnServerError, "the repository has no such branch, tag or commit"),
        (f"{VIT}@{'0' * 40}", MissingOnServerError, "the repository has no such branch, tag or commit"),
        (
            f"{VIT}/other.safetensors",
            MissingOnServerError,
            r"has no file 'other.safetensors' at .* It has: config.json",
        ),
        (f"{VIT}/sub/", MissingOnServerError, r"has no files at .* The repository has: config.json, model.safetensors"),
    ],
)
def test_errors_name_the_missing_object(vit: Repository, source: str, kind: type[LayerzooError], message: str) -> None:
    with pytest.raises(kind, match=message):
        take(source)


# ---------------------------------------------------------------- hostile answers


def test_a_declared_digest_that_differs_from_the_hub_is_reported_before_the_download(
    connected: Hub, vit: Repository
) -> None:
    with pytest.raises(DigestError) as caught:
        take(f"{VIT}/model.safetensors", model__safetensors="0" * 64)
    assert (caught.value.declared, caught.value.found) == ("0" * 64, sha256(WEIGHTS))
    assert str(caught.value).startswith(f"{VIT}@{vit.at('main').revision}/model.safetensors is not the declared file")
    assert connected.bytes_sent(FILE) == 0


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_refused_and_downloaded_again_at_the_next_attempt(
    connected: Hub, vit: Repository, home: Path, name: str
) -> None:
    connected.corrupt(f"*/{name}", at=1, times=1)
    with pytest.raises(DigestError, match=r"it was removed\. Next: try again"):
        take()
    assert not (snapshot(home, vit.at("main").revision) / name).exists()
    assert take()["model.safetensors"].read_bytes() == WEIGHTS


@pytest.mark.parametrize("etag", ['"../../x"', '"/etc/passwd"', '"a b"'])
def test_an_etag_that_is_not_a_digest_creates_no_file(connected: Hub, vit: Repository, home: Path, etag: str) -> None:
    connected.set_header("*/resolve/*", "ETag", etag)
    connected.set_header("*/resolve/*", "X-Linked-Etag", etag)
    with pytest.raises((ServerError, ChangedError)):
        take()
    assert not (home.parent / "huggingface/hub/x").exists()


@pytest.mark.parametrize("name", ["../x.json", "/x.json", "a\\..\\x.json", "x\0.json", "c:x.json"])
def test_a_hostile_file_name_is_refused_or_ignored(connected: Hub, home: Path, name: str) -> None:
    before = {path for path in home.parent.rglob("*") if path.is_file()}
    repository = connected.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS, name: "{}"})
    try:
        assert set(take()) == {"config.json", "model.safetensors"}
    except UnsafeWeightsError as error:
        assert "may lead out of its folder" in str(error)  # noqa: PT017 - either is right
    made = {path for path in home.parent.rglob("*") if path.is_file()} - before
    assert not [path for path in made if path.name.endswith("x.json")]


def test_a_file_name_that_is_too_long_raises_a_layerzoo_error(connected: Hub) -> None:
    repository = connected.repository("acme/vit")
    repository.commit({f"{'x' * 300}.json": "{}", "model.safetensors": WEIGHTS})
    with pytest.raises(LayerzooError, match="File name too long"):
        take()


def answer_with(hub: Hub, change: dict[str, Any] | str) -> None:
    """Make the hub send another list of a repository's files."""
    from tests.hub.exchange import Answer, Request, Respond

    def fault(request: Request, respond: Respond) -> Answer:
        answer = respond(request)
        body = change if isinstance(change, str) else json.dumps({**json.loads(answer.body), **change})
        return Answer(200, {"Content-Type": "application/json"}, body.encode())

    hub.inject("/api/models/*", fault)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("<html>Please log in</html>", "is not a model hub .* Next: look at HF_ENDPOINT"),
        ("[]", "is not a model hub"),
        ({"sha": None}, "names no commit"),
        ({"sha": "../../x"}, "names no commit"),
        ({"siblings": [{"size": 3}]}, "is not a model hub"),
        ({"siblings": [{"rfilename": "a.json", "size": -3, "blobId": "0" * 40}]}, "said to have -3 bytes"),
        ({"siblings": [{"rfilename": "a.json", "size": 3, "blobId": "../x"}]}, "the digest '../x'"),
    ],
    ids=str,
)
def test_an_invalid_list_of_files_is_refused(
    connected: Hub, vit: Repository, change: dict[str, Any] | str, message: str
) -> None:
    answer_with(connected, change)
    with pytest.raises(ServerError, match=message):
        take()


def test_a_list_of_another_commit_is_refused(connected: Hub, vit: Repository) -> None:
    first = vit.at("main").revision
    vit.commit({"config.json": "[]"})
    answer_with(connected, {"sha": vit.at("main").revision})
    with pytest.raises(ServerError, match=f"was asked for this commit, and answers with {vit.at('main').revision}"):
        take(f"{VIT}@{first}")


def test_a_stated_size_of_terabytes_is_not_allocated(connected: Hub, vit: Repository, home: Path) -> None:
    sibling = {"rfilename": "model.safetensors", "size": 10**15, "blobId": "0" * 40}
    answer_with(connected, {"siblings": [{**sibling, "lfs": {"sha256": "0" * 64, "size": 10**15, "pointerSize": 1}}]})
    with pytest.raises(LayerzooError, match=r"1,000,000,000,000,000 bytes"):
        take()
    assert not any(path.stat().st_size > 1e9 for path in home.parent.rglob("*") if path.is_file())


# ---------------------------------------------------------------- processes, and disks


@pytest.mark.parametrize("count", [2, 4])
def test_concurrent_processes_download_a_model_once(connected: Hub, vit: Repository, home: Path, count: int) -> None:
    connected.slow(FILE, bytes_per_second=1e6)  # long enough for all processes to arrive
    program = """
from layerzoo.spec import Weights
from layerzoo.weights import resolve
print(resolve(Weights(source="hf://acme/vit"))["model.safetensors"])
"""
    with ThreadPoolExecutor(count) as pool:
        reported = list(pool.map(lambda _: run(program, connected, home), range(count)))
    assert {Path(each.stdout.strip()).read_bytes() for each in reported} == {WEIGHTS}
    assert connected.bytes_sent(FILE) == len(WEIGHTS)


def test_a_download_is_kept_if_the_cache_of_huggingface_hub_is_read_only(
    connected: Hub, vit: Repository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HF_HOME", str(home / "file"))  # no folder can be made below a file, not even by root
    with pytest.raises(CacheError, match=r"was fetched, and cannot be moved .* HF_HOME=FOLDER chooses another place"):
        take(f"{VIT}/model.safetensors")
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    assert take(f"{VIT}/model.safetensors")["model.safetensors"].read_bytes() == WEIGHTS
    assert connected.bytes_sent(FILE) == len(WEIGHTS)


def test_a_download_is_kept_also_on_another_disk(
    connected: Hub, vit: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == Path(os.environ["LAYERZOO_CACHE"]).parent.stat().st_dev:
        pytest.skip("there is no other disk here")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        monkeypatch.setenv("HF_HOME", other)
        assert take()["model.safetensors"].read_bytes() == WEIGHTS


# ---------------------------------------------------------------- the lock


def lock(model: str, source: str, revision: str | None, **files: bytes) -> Lock:
    locked = {name.replace("__", "."): LockedFile(sha256(data), len(data)) for name, data in files.items()}
    return Lock.read().with_models({model: LockedModel(source, revision, locked)}).write()


def test_a_locked_branch_resolves_to_the_locked_commit(vit: Repository) -> None:
    first = vit.at("main").revision
    written = lock("mine/vit", VIT, first, model__safetensors=WEIGHTS)
    vit.commit({"model.safetensors": save({"a": np.zeros(3, np.float32)})})
    files = take()
    assert files["model.safetensors"].read_bytes() == WEIGHTS
    assert files.origin is not None
    assert (files.origin.revision, files.origin.pinned_by, files.origin.lock_sha256) == (first, "lock", written.sha256)
    assert files.verified == {"model.safetensors"}


@pytest.mark.parametrize("declared", ["hf://acme/other", "file:/tmp/vit.safetensors", f"{VIT}@v2"])
def test_another_declaration_than_the_locked_one_is_drift(vit: Repository, declared: str) -> None:
    first = vit.at("main").revision
    lock("mine/vit", VIT, first, model__safetensors=WEIGHTS)
    with pytest.raises(
        DriftError, match=r"are declared as .* and were locked as .* zoo lock --update mine/vit"
    ) as caught:
        take(declared)
    assert caught.value.locked == first


def test_other_bytes_at_the_locked_commit_are_refused(connected: Hub, vit: Repository) -> None:
    revision = vit.at("main").revision
    lock("mine/vit", VIT, revision, model__safetensors=WEIGHTS)
    other = save({"a": np.zeros(40_000, np.float32)})
    vit.rewrite(revision, {"model.safetensors": other})
    with pytest.raises(DigestError) as caught:
        take()
    assert (caught.value.declared, caught.value.found) == (sha256(WEIGHTS), sha256(other))
    assert revision in str(caught.value)
    assert connected.bytes_sent(FILE) == 0


def test_a_locked_commit_that_vanished_names_both_revisions(vit: Repository) -> None:
    first = vit.at("main").revision
    lock("mine/vit", VIT, first, model__safetensors=WEIGHTS)
    second = vit.commit({"config.json": "[]"})
    del vit.commits[first]
    with pytest.raises(DriftError, match="the hub has no such commit any more") as caught:
        take()
    assert (caught.value.locked, caught.value.found) == (first, second)


def test_a_removed_locked_commit_is_not_needed_if_its_files_are_cached(connected: Hub, vit: Repository) -> None:
    first = vit.at("main").revision
    lock("mine/vit", VIT, first, model__safetensors=WEIGHTS)
    take()
    vit.commit({"config.json": "[]"})
    del vit.commits[first]
    connected.requests.clear()
    assert take()["model.safetensors"].read_bytes() == WEIGHTS
    assert connected.requests == []
