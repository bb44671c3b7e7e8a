"""The model hub of the tests: huggingface_hub works with it, and handles each of its faults as expected."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub import HfApi, HfFileSystem, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from tests.hub import Hub, Repository

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b": np.ones((200, 100), np.float32)})
FILE = "*.safetensors"
CHUNK = 10 * 1024 * 1024  # huggingface_hub keeps whole chunks of an interrupted download


@pytest.fixture
def vit(hub: Hub) -> Repository:
    repository = hub.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS, "onnx/model.onnx": b"\0" * 100})
    return repository


def download(hub: Hub, cache: Path, file: str = "model.safetensors", **options: str | bool) -> bytes:
    path = hf_hub_download("acme/vit", file, endpoint=hub.url, cache_dir=cache, **{"token": False, **options})
    return Path(path).read_bytes()


# ---------------------------------------------------------------- repositories


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_blobs_folders_and_commits_have_the_ids_that_git_gives(hub: Hub, tmp_path: Path):
    files = {"sub/deep/x.txt": "x\n", "sub.txt": "y", "sub-a/z": "z", "README.md": "hi\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    repository = hub.repository("acme/text")
    revision = repository.commit(tmp_path)

    who = {"NAME": "acme", "EMAIL": "acme@example.org", "DATE": f"{repository.at('main').date:%s} +0000"}
    people = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in who.items()}
    run = "git init -q . && git add -A && git commit -qm 'Add files' && git rev-parse HEAD"
    done = subprocess.run(run, shell=True, cwd=tmp_path, env=os.environ | people, capture_output=True, text=True)
    assert done.stdout.strip() == revision


def test_every_commit_stays_readable_by_its_revision_and_its_tag(hub: Hub, vit: Repository, tmp_path: Path):
    first = vit.commit({"config.json": "1"})
    vit.tag("v1.0")
    second = vit.commit({"config.json": "2"})
    found = {name: download(hub, tmp_path, "config.json", revision=name) for name in (first, "v1.0", second, "main")}
    assert found == {first: b"1", "v1.0": b"1", second: b"2", "main": b"2"}


def test_a_deleted_file_is_gone_from_the_next_commit_only(hub: Hub, vit: Repository, tmp_path: Path):
    vit.tag("before")
    vit.commit({"config.json": None})
    assert download(hub, tmp_path, "config.json", revision="before") == b"{}"
    with pytest.raises(RemoteEntryNotFoundError):
        download(hub, tmp_path, "config.json")


def test_the_api_lists_refs_and_history(hub: Hub, vit: Repository):
    first = vit.at("main").revision
    vit.branch("dev")
    second = vit.commit({"a": "a"}, message="More")
    api = HfApi(endpoint=hub.url, token=False)
    refs = api.list_repo_refs("acme/vit")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "dev": first}
    assert [(one.commit_id, one.title) for one in api.list_repo_commits("acme/vit")] == [
        (second, "More"),
        (first, "Add files"),
    ]


def test_the_api_describes_the_files(hub: Hub, vit: Repository):
    api = HfApi(endpoint=hub.url, token=False)
    blobs = vit.at("main").files
    info = api.model_info("acme/vit", files_metadata=True)
    tree = {entry.path: entry for entry in api.list_repo_tree("acme/vit", recursive=True)}
    asked = {entry.path for entry in api.get_paths_info("acme/vit", ["onnx", "config.json", "none"])}

    assert info.sha == vit.at("main").revision
    assert {file.rfilename: file.blob_id for file in info.siblings} == {name: blob.id for name, blob in blobs.items()}
    assert tree["model.safetensors"].lfs.sha256 == blobs["model.safetensors"].sha256
    assert tree["config.json"].lfs is None
    assert set(tree) == {*blobs, "onnx"}
    assert [entry.path for entry in api.list_repo_tree("acme/vit", "onnx")] == ["onnx/model.onnx"]
    assert asked == {"onnx", "config.json"}


# ---------------------------------------------------------------- downloads


def test_a_download_has_the_cache_layout_of_huggingface_hub(hub: Hub, vit: Repository, tmp_path: Path):
    assert download(hub, tmp_path) == WEIGHTS
    commit = vit.at("main")
    folder = tmp_path / "models--acme--vit"
    assert (folder / "refs" / "main").read_text() == commit.revision
    assert (folder / "blobs" / commit.files["model.safetensors"].sha256).read_bytes() == WEIGHTS
    assert (folder / "snapshots" / commit.revision / "model.safetensors").is_symlink()


def test_a_snapshot_contains_every_file(hub: Hub, vit: Repository, tmp_path: Path):
    folder = Path(snapshot_download("acme/vit", endpoint=hub.url, cache_dir=tmp_path, token=False))
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: blob.content for name, blob in vit.at("main").files.items()}


def test_every_byte_of_a_body_is_counted(hub: Hub, vit: Repository, tmp_path: Path):
    download(hub, tmp_path)
    download(hub, tmp_path)
    assert [(request.method, request.sent) for request in hub.requests] == [
        ("HEAD", 0),
        ("GET", len(WEIGHTS)),
        ("HEAD", 0),
    ]
    assert hub.bytes_sent() == len(WEIGHTS)


def test_the_header_of_a_safetensors_file_is_read_by_its_range(hub: Hub, vit: Repository):
    metadata = HfApi(endpoint=hub.url, token=False).get_safetensors_metadata("acme/vit")
    assert metadata.weight_map == {"a": "model.safetensors", "b": "model.safetensors"}
    assert hub.bytes_sent() == 100_001
    assert hub.requests[-1].range == "bytes=0-100000"


def test_a_file_of_a_file_system_is_read_by_ranges(hub: Hub, vit: Repository):
    files = HfFileSystem(endpoint=hub.url, token=False, skip_instance_cache=True)
    with files.open("acme/vit/model.safetensors", cache_type="none") as file:
        file.seek(5000)
        assert file.read(100) == WEIGHTS[5000:5100]
    assert hub.bytes_sent(FILE) == 100


@given(
    start=st.none() | st.integers(0, len(WEIGHTS) + 9),
    stop=st.none() | st.integers(1, len(WEIGHTS) + 9),
)
def test_a_range_request_returns_the_slice(a_file: str, start: int | None, stop: int | None):
    if start is not None and stop is not None and stop <= start:
        start, stop = stop - 1, start + 1
    last = "" if stop is None else stop if start is None else stop - 1
    wanted = WEIGHTS if start is None and stop is None else WEIGHTS[-stop:] if start is None else WEIGHTS[start:stop]
    answer = get_session().get(a_file, headers={"Range": f"bytes={'' if start is None else start}-{last}"})
    assert answer.status_code == (200 if start is None and stop is None else 206 if wanted else 416)
    if wanted:
        assert answer.content == wanted
    else:
        assert answer.headers["Content-Range"] == f"bytes */{len(WEIGHTS)}"


@pytest.fixture(scope="module")
def a_file():
    with Hub() as hub:
        yield hub.file("a file.bin", WEIGHTS)


def test_many_ranges_at_once_add_up_to_the_file(hub: Hub):
    url = hub.file("weights.bin", WEIGHTS)
    starts = range(0, len(WEIGHTS), 9000)
    ranges = [{"Range": f"bytes={start}-{start + 8999}"} for start in starts]
    with ThreadPoolExecutor(16) as pool:
        parts = pool.map(lambda headers: get_session().get(url, headers=headers).content, ranges)
    assert b"".join(parts) == WEIGHTS
    assert hub.bytes_sent() == len(WEIGHTS)


def test_a_large_file_comes_from_another_host_which_sees_no_token(tmp_path: Path):
    with Hub(cdn=True) as hub:
        hub.repository("acme/vit", token="hf_x").commit({"model.safetensors": WEIGHTS, "config.json": "{}"})
        assert download(hub, tmp_path, token="hf_x") == WEIGHTS
        assert download(hub, tmp_path, "config.json", token="hf_x") == b"{}"
        seen = [(request.method, request.path.split("/")[1], request.token) for request in hub.requests]
        answer = get_session().get(
            f"{hub.url}/acme/vit/resolve/main/model.safetensors",
            headers={"Range": "bytes=8-17", "Authorization": "Bearer hf_x"},
        )
    assert seen == [("HEAD", "acme", "hf_x"), ("GET", "cdn", None), ("HEAD", "acme", "hf_x"), ("GET", "acme", "hf_x")]
    assert answer.content == WEIGHTS[8:18]


# ---------------------------------------------------------------- access


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 403)])
def test_a_gated_repository_shows_its_names_but_not_its_files(hub: Hub, tmp_path: Path, token: str | bool, status: int):
    hub.repository("acme/vit", token="hf_x").commit({"config.json": "{}"})
    assert HfApi(endpoint=hub.url, token=token).model_info("acme/vit").gated == "manual"
    with pytest.raises(GatedRepoError) as caught:
        download(hub, tmp_path, "config.json", token=token)
    assert caught.value.response.status_code == status
    assert download(hub, tmp_path, "config.json", token="hf_x") == b"{}"


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 404)])
def test_a_private_repository_does_not_exist_for_others(hub: Hub, tmp_path: Path, token: str | bool, status: int):
    hub.repository("acme/vit", token="hf_x", private=True).commit({"config.json": "{}"})
    with pytest.raises(RepositoryNotFoundError) as caught:
        HfApi(endpoint=hub.url, token=token).model_info("acme/vit")
    assert caught.value.response.status_code == status
    assert download(hub, tmp_path, "config.json", token="hf_x") == b"{}"


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("options", "error"),
    [({"file": "none"}, RemoteEntryNotFoundError), ({"revision": "v9"}, RevisionNotFoundError)],
    ids=["file", "revision"],
)
def test_a_missing_object_raises_its_error(hub: Hub, vit: Repository, tmp_path: Path, options: dict, error: type):
    with pytest.raises(error):
        download(hub, tmp_path, **options)


Plan = Callable[[Hub], object]


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        pytest.param(lambda hub: hub.fail(FILE, 401), HfHubHTTPError, id="401"),
        pytest.param(lambda hub: hub.fail(FILE, 403), LocalEntryNotFoundError, id="403"),
        pytest.param(lambda hub: hub.fail(FILE, 404), LocalEntryNotFoundError, id="404 from something else"),
        pytest.param(lambda hub: hub.fail(FILE, 404, code="EntryNotFound"), RemoteEntryNotFoundError, id="404"),
        pytest.param(lambda hub: hub.fail(FILE, 503, method="GET", times=1), HfHubHTTPError, id="503 of a body"),
        pytest.param(lambda hub: hub.hang_up(FILE, times=1), httpx2.RemoteProtocolError, id="hang up"),
        pytest.param(lambda hub: hub.cut(FILE, 9000, reset=True, times=1), httpx2.ReadError, id="reset"),
        pytest.param(lambda hub: hub.redirect_loop(FILE), httpx2.TooManyRedirects, id="redirect loop"),
        pytest.param(lambda hub: hub.truncate(FILE, 9000), OSError, id="truncated"),
        pytest.param(lambda hub: hub.set_header(FILE, "Content-Length", "9000", method="GET"), OSError, id="length"),
        pytest.param(lambda hub: hub.set_header(FILE, "X-Repo-Commit", None), LocalEntryNotFoundError, id="no commit"),
    ],
)
def test_a_fault_at_which_huggingface_hub_fails(
    hub: Hub, vit: Repository, tmp_path: Path, plan: Plan, error: type[Exception]
):
    plan(hub)
    with pytest.raises(error) as caught:
        download(hub, tmp_path)
    assert caught.type is error
    assert not list(tmp_path.glob("**/blobs/*"))  # neither a file that seems complete, nor a part to continue from


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(lambda hub: hub.fail(FILE, 503, method="HEAD", times=1), id="503"),
        pytest.param(lambda hub: hub.fail(FILE, 429, method="GET", times=1), id="429"),
        pytest.param(lambda hub: hub.hang_up(FILE, method="GET", times=1), id="hang up"),
        pytest.param(lambda hub: hub.cut(FILE, 9000, times=1), id="cut"),
    ],
)
def test_a_fault_from_which_huggingface_hub_recovers(hub: Hub, vit: Repository, tmp_path: Path, plan: Plan):
    plan(hub)
    assert download(hub, tmp_path) == WEIGHTS


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(lambda hub, vit: hub.corrupt(FILE, at=9000), id="a wrong byte"),
        pytest.param(
            lambda hub, vit: hub.meanwhile(
                FILE, lambda: vit.rewrite("main", {"model.safetensors": WEIGHTS[::-1]}), method="GET"
            ),
            id="rewritten",
        ),
        pytest.param(
            lambda hub, vit: hub.meanwhile(
                FILE, lambda: vit.commit({"model.safetensors": WEIGHTS[::-1]}), method="GET", times=1
            ),
            id="moved on",
        ),
    ],
)
def test_a_fault_that_huggingface_hub_does_not_detect(
    hub: Hub, vit: Repository, tmp_path: Path, plan: Callable[[Hub, Repository], object]
):
    plan(hub, vit)
    found = download(hub, tmp_path)
    assert found != WEIGHTS
    assert len(found) == len(WEIGHTS)


@pytest.mark.parametrize("ranges", ["kept", "ignored"])
def test_an_interrupted_download_continues_after_its_last_complete_chunk(hub: Hub, tmp_path: Path, ranges: str):
    content = bytes(range(256)) * (CHUNK * 3 // 2 // 256)
    hub.repository("acme/vit").commit({"model.safetensors": content})
    hub.cut(FILE, CHUNK + 9, times=1)
    if ranges == "ignored":
        hub.ignore_ranges(FILE)
    assert download(hub, tmp_path) == content
    assert [request.range for request in hub.requests[1:]] == [None, f"bytes={CHUNK}-"]
    assert hub.bytes_sent() == CHUNK + 9 + (len(content) if ranges == "ignored" else len(content) - CHUNK)


def test_the_hub_can_send_a_wrong_content_range(hub: Hub):
    url = hub.file("weights.bin", WEIGHTS)
    hub.wrong_content_range("*", shift=7)
    answer = get_session().get(url, headers={"Range": "bytes=10-19"})
    assert answer.headers["Content-Range"] == f"bytes 17-26/{len(WEIGHTS)}"
    assert answer.content == WEIGHTS[10:20]


def test_a_slow_response_exceeds_the_timeout_of_the_client(hub: Hub):
    url = hub.file("weights.bin", WEIGHTS)
    hub.slow("*", bytes_per_second=2)
    with pytest.raises(httpx2.ReadTimeout):
        get_session().get(url, timeout=0.1)


def test_faults_apply_to_their_requests_only(hub: Hub):
    one, other = hub.file("one.bin", b"1"), hub.file("other.bin", b"2")
    hub.fail("*/one.bin", 500, after=1, times=2)
    statuses = [get_session().get(url).status_code for url in (one, one, other, one, one)]
    hub.fail("*", 500)
    hub.heal()
    assert statuses == [200, 500, 200, 500, 200]
    assert get_session().get(one).status_code == 200


@settings(max_examples=20)  # each case starts two servers
@given(seed=st.integers(0, 2**32))
def test_random_faults_depend_on_the_seed_alone(seed: int):
    assert misbehaviour(seed) == misbehaviour(seed)


def misbehaviour(seed: int) -> list[tuple[int, int]]:
    with Hub() as hub:
        url = hub.file("weights.bin", WEIGHTS)
        hub.misbehave("*", seed)
        for start in (0, 0, 0, 9000, 9000):
            try:
                get_session().get(url, headers={"Range": f"bytes={start}-{start + 999}"})
            except httpx2.TransportError:
                continue
        return [(request.status, request.sent) for request in hub.requests]


# ---------------------------------------------------------------- processes


FETCH = "import huggingface_hub as hub; print(open(hub.hf_hub_download('acme/vit', 'config.json')).read())"


def test_a_process_finds_the_hub_and_trusts_it(tmp_path: Path):
    with Hub(tls=True) as hub:
        hub.repository("acme/vit").commit({"config.json": "{}"})
        assert hub.url.startswith("https://")
        assert hub.run(FETCH, tmp_path) == (0, "{}")
        assert [request.method for request in hub.requests] == ["HEAD", "GET"]


def test_an_offline_process_sends_no_request(hub: Hub, vit: Repository, tmp_path: Path):
    hub.run(FETCH, tmp_path)
    hub.requests.clear()
    assert hub.run(FETCH, tmp_path, HF_HUB_OFFLINE="1") == (0, "{}")
    assert hub.run(FETCH.replace("config", "other"), tmp_path, HF_HUB_OFFLINE="1")[0] == 1
    assert hub.requests == []


def test_no_thread_is_left_running():
    before = set(threading.enumerate())
    with Hub() as hub:
        url = hub.file("weights.bin", b"1")
        get_session().get(url)
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before
    with pytest.raises(httpx2.TransportError):
        get_session().get(url)
