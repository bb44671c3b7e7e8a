"""Listing, verifying and removing the cached weights of models, in caches filled from a local hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import hf_hub_download
from safetensors.numpy import save
from tests.hub import Hub, Repository

from layerzoo.errors import CacheError
from layerzoo.lock import Lock, LockedFile, LockedModel
from layerzoo.registry import registry
from layerzoo.weights import resolve
from layerzoo.weights.cache import converted_path, locked
from layerzoo.weights.digests import sha256
from layerzoo.weights.inventory import Inventory, Item
from layerzoo.weights.network import Endpoint
from layerzoo.weights.partial import About, PartialFile
from layerzoo.weights.removal import Choice, Removed, removals, remove
from layerzoo.weights.spans import Span
from layerzoo.weights.verdicts import verdicts

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b": np.ones((200, 100), np.float32)})
SOURCE = "hf://acme/vit/model.safetensors"
LINK = "https://example.org/weights.safetensors"
SHA256 = "0123456789abcdef" * 4
DAY_S = 86_400

Declare = Callable[..., None]


@pytest.fixture
def cache(small_home: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty cache directory. That of huggingface_hub is empty too and uses the local hub."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    return tmp_path / "huggingface" / "hub"


@pytest.fixture
def declare(small_home: Path) -> Declare:
    """Declare models in the user's registry, with their sources of weights by name."""

    def write(**weights: object) -> None:
        models = {
            f"mine/{name}": {"modality": "vision", "builder": "timm", "weights": of} for name, of in weights.items()
        }
        (small_home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": models}), encoding="utf-8")

    return write


@pytest.fixture
def vit(cache: Path, hub: Hub, declare: Declare) -> Repository:
    """Create a repository, and declare a model with its weights."""
    declare(vit="hf://acme/vit")
    repository = hub.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS, "README.md": "# A vision transformer"})
    return repository


def pull(model: str = "mine/vit", spans: list[Span] | None = None) -> None:
    """Download the weights of a model, completely or some bytes."""
    spec = registry().model(model)
    files = resolve(spec.weights, model=model, extent="whole" if spans is None else "partial")
    for part in files.partial.values():
        part.ensure(spans or [])


def download(hub: Hub, source: str = LINK, data: bytes = WEIGHTS) -> PartialFile:
    """Download a whole file from a URL."""
    about = About(source, "weights.safetensors", len(data), hashlib.sha256(data).hexdigest())
    part = PartialFile(about, Endpoint(hub.file("weights", data), source, {}, is_on_hub=False))
    part.complete()
    return part


def convert(digest: str, made_by: str = "torch-1") -> Path:
    """Create the converted file of a checkpoint with this SHA-256."""
    path = converted_path(digest, made_by)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WEIGHTS)
    return path


def scratch(folder: Path, days: float) -> Path:
    """Create a leftover file of a process that was killed some time ago."""
    path = folder / ".layerzoo-0123456789abcdef.part"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(1000))
    age(path, days)
    return path


def kept(kind: str | None = None) -> list[Item]:
    return [item for item in Inventory.collect(registry()).items if item.kind == kind or kind is None]


def states() -> dict[str, str]:
    return {each.item.name: each.state for each in verdicts(Inventory.collect(registry()))}


def prune(
    choice: Choice = "useless", *, dry_run: bool = False, model: str | None = None, **options: object
) -> list[Removed]:
    inventory = Inventory.collect(registry())
    chosen = removals(inventory.of([model]) if model else inventory, choice, **options)  # type: ignore[arg-type]
    return [remove(each, dry_run=dry_run) for each in chosen]


def age(path: Path, days: float) -> None:
    """Set the time of last use of a file, or of all files in a folder."""
    then = time.time() - days * DAY_S
    for each in [path, *path.rglob("*")]:
        os.utime(each, (then, then))


# ---------------------------------------------------------------- listing


def test_a_missing_cache_is_empty(cache: Path):
    zoo = registry()
    assert {item.kind for item in Inventory.collect(zoo).items} == {"index"}
    shutil.rmtree(cache)
    assert Inventory.collect(zoo).items == []
    assert Inventory.collect(zoo).bytes == 0
    assert not cache.exists()


def test_files_of_a_repository_are_listed_with_their_model(vit: Repository):
    pull()
    found = {item.name: item for item in kept("hub")}
    assert set(found) == {"hf://acme/vit/config.json", SOURCE}
    assert (found[SOURCE].bytes, found[SOURCE].of_bytes, found[SOURCE].whole) == (len(WEIGHTS), len(WEIGHTS), True)
    assert found[SOURCE].models == ("mine/vit",)
    assert found[SOURCE].revision == vit.at("main").revision
    assert found[SOURCE].useless is None
    assert found[SOURCE].path.read_bytes() == WEIGHTS


def test_the_size_of_a_partial_file_is_that_of_its_downloaded_parts(vit: Repository):
    pull(spans=[Span(0, 1000), Span(200_000, 240_000)])
    (item,) = kept("download")
    assert (item.name, item.revision) == (SOURCE, vit.at("main").revision)
    assert (item.bytes, item.of_bytes, item.whole) == (41_000, len(WEIGHTS), False)
    assert item.share == pytest.approx(41_000 / len(WEIGHTS))
    assert item.models == ("mine/vit",)
    assert item.useless is None


def test_a_model_pinned_to_another_revision_does_not_use_a_file(vit: Repository, declare: Declare):
    first = vit.at("main").revision
    second = vit.commit({"model.safetensors": WEIGHTS[::-1]})
    declare(
        old=f"hf://acme/vit@{first}/model.safetensors", new=f"hf://acme/vit@{second}", same=f"hf://acme/vit@{first}"
    )
    for model in ("mine/old", "mine/new", "mine/same"):
        pull(model, spans=[Span(0, 100)])
    assert {item.revision: item.models for item in kept("download")} == {
        first: ("mine/old", "mine/same"),
        second: ("mine/new",),
    }


def test_a_locked_model_uses_the_locked_revision(vit: Repository):
    first = vit.at("main").revision
    pull(spans=[Span(0, 100)])
    vit.commit({"model.safetensors": WEIGHTS[::-1]})
    pull(spans=[Span(0, 100)])
    Lock.read().with_models({"mine/vit": LockedModel("hf://acme/vit", first, {})}).write()
    found = {item.revision == first: (item.models, item.useless) for item in kept("download")}
    assert found == {True: (("mine/vit",), None), False: ((), "no declared model uses it")}


def test_a_file_shared_by_two_revisions_is_counted_once(vit: Repository, declare: Declare):
    first = vit.at("main").revision
    second = vit.commit({"config.json": '{"labels": 2}'})
    declare(old=f"hf://acme/vit@{first}", new=f"hf://acme/vit@{second}")
    pull("mine/old")
    pull("mine/new")
    inventory = Inventory.collect(registry())
    shared = [item for item in inventory.items if item.name == SOURCE]
    assert {item.models for item in shared} == {("mine/old",), ("mine/new",)}
    assert inventory.bytes == sum(item.bytes for item in inventory.items) - len(WEIGHTS)


def test_a_file_from_a_url_is_listed_by_its_sha256(cache: Path, hub: Hub, declare: Declare):
    part = download(hub)
    declare(one={"source": LINK, "sha256": part.about.digest}, other={"source": LINK, "sha256": SHA256})
    (item,) = kept("download")
    assert (item.name, item.whole, item.models) == (LINK, True, ("mine/one",))


def test_a_converted_checkpoint_is_listed_with_its_source(cache: Path, declare: Declare):
    declare(one={"source": "https://example.org/weights.bin", "sha256": SHA256})
    path = convert(SHA256)
    (item,) = kept("converted")
    assert (item.path, item.name, item.models) == (path, "https://example.org/weights.bin", ("mine/one",))


def test_small_things_are_one_row_each(vit: Repository, cache: Path):
    pull()
    (cache / "traces").mkdir()
    for digit in "01":
        (cache / "traces" / f"{digit * 64}.trace").write_text("{}")
    sha256(cache / "traces" / f"{'0' * 64}.trace")
    kinds = [item.kind for item in kept() if item.kind != "hub"]
    assert sorted(kinds) == ["digests", "index", "listings", "traces"]
    (traces,) = kept("traces")
    assert (traces.path, traces.bytes) == (cache / "traces", 4)
    (cache / "digests-1.sqlite3-journal").write_text("half written")
    assert [item.path for item in kept("digests")] == [cache / "digests-1.sqlite3"]


def test_foreign_files_in_the_cache_are_not_listed(cache: Path):
    for name in (
        "photo.jpg",
        "traces/notes.txt",
        "converted/mine.safetensors",
        "downloads/film.mp4",
        "downloads/films/a",
    ):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("mine")
    assert {item.kind for item in kept()} == {"index"}


def test_listing_verifying_and_pruning_send_no_request(vit: Repository, hub: Hub):
    pull()
    hub.requests.clear()
    states()
    prune("all", hub=True)
    assert hub.requests == []


# ---------------------------------------------------------------- unused files


def test_files_that_no_model_uses_are_unused(vit: Repository, hub: Hub, declare: Declare):
    pull(spans=[Span(0, 100)])
    download(hub)
    convert(SHA256)
    declare(vit=None)
    assert {item.kind: item.useless for item in kept() if item.useless} == {
        "download": "no declared model uses it",
        "converted": "no declared model uses what it was made from, and that is gone",
    }


def test_a_partial_file_of_an_outdated_revision_is_unused(vit: Repository):
    pull(spans=[Span(0, 100)])
    vit.commit({"model.safetensors": WEIGHTS[::-1]})
    assert [item.useless for item in kept("download")] == [None]
    pull(spans=[Span(0, 200)])
    assert {item.bytes: item.useless for item in kept("download")} == {100: "no declared model uses it", 200: None}


def test_a_partial_file_is_unused_if_another_program_downloaded_the_whole_file(
    vit: Repository, hub: Hub, hub_cache: Path
):
    pull(spans=[Span(0, 100)])
    hf_hub_download("acme/vit", "model.safetensors", endpoint=hub.url, cache_dir=hub_cache)
    assert [item.useless for item in kept("download")] == ["huggingface_hub's cache has the whole file"]


def test_a_partial_file_is_kept_if_the_record_of_its_repository_is_lost(vit: Repository, cache: Path):
    pull(spans=[Span(0, 100)])
    shutil.rmtree(cache / "repositories")
    (item,) = kept("download")
    assert (item.models, item.useless) == (("mine/vit",), None)


def test_a_converted_checkpoint_is_used_while_its_source_exists(cache: Path, tmp_path: Path):
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"weights")
    convert(sha256(pickle))
    assert [(item.name, item.useless) for item in kept("converted")] == [(str(pickle), None)]
    pickle.write_bytes(b"others")
    assert [item.useless is None for item in kept("converted")] == [False]


def test_a_converted_checkpoint_of_older_versions_is_unused(cache: Path, declare: Declare):
    declare(one={"source": "https://example.org/weights.bin", "sha256": SHA256})
    (plugin,) = [plugin for plugin in registry().plugins() if plugin.namespace == "toy"]
    now = convert(SHA256, f"{plugin.distribution}-{plugin.version}")
    old = convert(SHA256, f"{plugin.distribution}-0.0.1")
    assert {item.path: item.useless for item in kept("converted")} == {
        now: None,
        old: "versions that are installed now made it again",
    }
    now.unlink()
    assert [item.useless for item in kept("converted")] == [None]


@pytest.mark.parametrize("folder", [".", "converted", "downloads", "traces", "repositories/acme--vit/refs"])
def test_a_file_being_written_is_kept_for_a_day(cache: Path, folder: str):
    scratch(cache / folder, days=0.9)
    assert [item.useless for item in kept("scratch")] == [None]
    scratch(cache / folder, days=1.1)
    assert [item.useless for item in kept("scratch")] == ["it was left by a process that was killed"]


# ---------------------------------------------------------------- verifying


def test_complete_files_are_ok_and_incomplete_files_are_partial(vit: Repository, hub: Hub, cache: Path):
    pull(spans=[Span(0, 100)])
    download(hub)
    convert(SHA256)
    assert states() == {
        "hf://acme/vit/config.json": "ok",
        SOURCE: "partial",
        LINK: "ok",
        converted_path(SHA256, "torch-1").stem: "ok",
    }


def test_a_missing_file_of_a_model_is_gone(vit: Repository):
    pull()
    (item,) = [item for item in kept("hub") if item.name == SOURCE]
    item.path.unlink()
    assert states() == {"hf://acme/vit/config.json": "ok", SOURCE: "gone"}


@pytest.mark.parametrize("damage", ["a wrong byte", "cut short", "empty"])
def test_a_damaged_file_of_a_repository_is_found(vit: Repository, damage: str):
    pull()
    (item,) = [item for item in kept("hub") if item.name == SOURCE]
    item.path.write_bytes({"a wrong byte": WEIGHTS[:-1] + b"!", "cut short": WEIGHTS[:-1], "empty": b""}[damage])
    assert states() == {"hf://acme/vit/config.json": "ok", SOURCE: "damaged"}


def test_a_damaged_small_file_of_a_repository_is_found(vit: Repository):
    pull()
    (item,) = [item for item in kept("hub") if item.name != SOURCE]
    item.path.write_text("[]")
    assert states() == {"hf://acme/vit/config.json": "damaged", SOURCE: "ok"}


def test_a_damaged_download_is_found(cache: Path, hub: Hub):
    part = download(hub)
    part.path.write_bytes(WEIGHTS[:-1] + b"!")
    assert states() == {LINK: "damaged"}
    part.path.write_bytes(WEIGHTS[:-1])
    assert states() == {LINK: "damaged"}
    (part.folder / "about.json").write_text("{")
    assert states() == {part.folder.name: "damaged"}


def test_a_damaged_converted_checkpoint_is_found(cache: Path):
    convert(SHA256).write_bytes(WEIGHTS[:-1])
    assert list(states().values()) == ["damaged"]


def test_an_intact_file_that_differs_from_the_declaration_has_drifted(vit: Repository, declare: Declare):
    pull()
    source = f"hf://acme/vit@{vit.at('main').revision}/model.safetensors"
    declare(vit={"source": source, "sha256": SHA256})
    (verdict,) = [each for each in verdicts(Inventory.collect(registry())) if each.state == "drifted"]
    assert (verdict.item.name, verdict.item.models) == (SOURCE, ("mine/vit",))
    found = hashlib.sha256(WEIGHTS).hexdigest()
    assert verdict.detail == f"its sha256 is {found[:12]}…; declared or locked for mine/vit is {SHA256[:12]}…"


def test_an_intact_file_that_differs_from_the_lock_has_drifted(vit: Repository):
    pull()
    files = {"config.json": LockedFile(SHA256, 2)}
    Lock.read().with_models({"mine/vit": LockedModel("hf://acme/vit", vit.at("main").revision, files)}).write()
    assert states() == {"hf://acme/vit/config.json": "drifted", SOURCE: "ok"}


# ---------------------------------------------------------------- removing


def test_only_unused_files_are_removed_by_default(vit: Repository, hub: Hub, cache: Path):
    pull()
    useless = download(hub).folder
    left = scratch(cache / "converted", days=2)
    before = {item.path for item in kept()}
    assert {each.removal.item.path: each.state for each in prune()} == {useless: "removed", left: "removed"}
    assert {item.path for item in kept()} == before - {useless, left}


def test_the_reported_size_is_the_freed_disk_space(vit: Repository, hub: Hub):
    pull(spans=[Span(0, 100)])
    download(hub)
    before = Inventory.collect(registry()).bytes
    expected = sum(each.bytes for each in prune("all", dry_run=True, hub=True))
    assert Inventory.collect(registry()).bytes == before
    done = prune("all", hub=True)
    assert {each.state for each in done} == {"removed"}
    assert sum(each.bytes for each in done) == expected == before


def test_a_dry_run_removes_nothing(cache: Path, hub: Hub):
    part = download(hub)
    assert [each.state for each in prune(dry_run=True)] == ["would be removed"]
    assert part.is_whole


def test_the_files_of_a_model_are_removed_and_downloaded_again(vit: Repository, hub: Hub, hub_cache: Path):
    pull()
    other = download(hub)
    assert prune("all", model="mine/vit") == []
    (done,) = prune("all", model="mine/vit", hub=True)
    assert (done.removal.item.name, done.state) == ("hf://acme/vit", "removed")
    assert done.bytes == len(WEIGHTS) + len("{}")
    assert not (hub_cache / "models--acme--vit").exists()
    assert other.is_whole
    pull()
    assert set(states().values()) == {"ok"}


def test_removing_a_revision_keeps_files_shared_with_another(vit: Repository, declare: Declare):
    first = vit.at("main").revision
    second = vit.commit({"config.json": '{"labels": 2}'})
    declare(old=f"hf://acme/vit@{first}", new=f"hf://acme/vit@{second}")
    pull("mine/old")
    pull("mine/new")
    (done,) = prune("all", model="mine/old", hub=True)
    assert (done.state, done.bytes) == ("removed", len("{}"))
    assert {(item.revision, item.name) for item in kept("hub")} == {
        (second, SOURCE),
        (second, "hf://acme/vit/config.json"),
    }


def test_a_damaged_file_is_removed_from_every_revision_and_downloaded_again(vit: Repository, declare: Declare):
    first = vit.at("main").revision
    second = vit.commit({"config.json": '{"labels": 2}'})
    declare(old=f"hf://acme/vit@{first}", new=f"hf://acme/vit@{second}")
    pull("mine/old")
    pull("mine/new")
    kept("hub")[-1].path.write_bytes(WEIGHTS[:-1] + b"!")
    assert prune("damaged") == []
    assert [each.state for each in prune("damaged", hub=True)] == ["removed", "gone"]
    assert [item.name for item in kept("hub")] == ["hf://acme/vit/config.json"] * 2
    pull("mine/old")
    pull("mine/new")
    assert [verdict.state for verdict in verdicts(Inventory.collect(registry()))] == ["ok"] * 4


def test_a_damaged_download_is_removed_and_an_intact_one_is_kept(cache: Path, hub: Hub):
    intact, damaged = download(hub), download(hub, "https://example.org/other.safetensors")
    damaged.path.write_bytes(WEIGHTS[:-1] + b"!")
    assert [each.removal.item.path for each in prune("damaged")] == [damaged.folder]
    assert intact.is_whole


def test_only_files_unused_for_the_given_time_are_removed(cache: Path, hub: Hub):
    young, old = download(hub), download(hub, "https://example.org/other.safetensors")
    age(old.folder, days=31)
    assert [each.removal.item.path for each in prune("all", unused_days=30)] == [old.folder]
    assert young.is_whole


def test_a_file_being_written_is_never_removed(cache: Path):
    path = scratch(cache / "converted", days=0.5)
    prune("all")
    assert path.exists()


@pytest.mark.parametrize("suffix", ["", ".whole"])
def test_a_download_in_progress_is_not_removed(cache: Path, hub: Hub, suffix: str):
    part = download(hub)
    with locked(part.folder.with_suffix(suffix)):
        assert [(each.state, each.bytes) for each in prune()] == [("in use", 0)]
    assert part.is_whole


def test_files_removed_by_another_process_are_no_failure(cache: Path, hub: Hub):
    part = download(hub)
    (removal,) = removals(Inventory.collect(registry()), "useless")
    assert remove(removal).state == "removed"
    assert remove(removal).state == "gone"
    assert not part.folder.exists()


def test_several_processes_prune_at_once(vit: Repository, hub: Hub, cache: Path):
    pull()
    for number in range(20):
        download(hub, f"https://example.org/{number}.safetensors")
    program = "from layerzoo.cli import main; main(['cache', 'prune', '--all', '--hub', '--format', 'jsonl'])"
    children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    rows = [json.loads(line) for child in children for line in child.communicate()[0].splitlines()]
    removed = [row["path"] for row in rows if row["kind"] == "download" and row["state"] == "removed"]
    assert sorted(set(removed)) == sorted(removed)
    assert len(removed) == 20
    assert [row["state"] for row in rows if row["kind"] == "hub"].count("removed") == 1
    assert {row["state"] for row in rows} <= {"removed", "gone", "in use"}
    assert kept("download") == kept("hub") == []


# ---------------------------------------------------------------- links to other folders


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder outside all caches, with files named like those in a cache."""
    folder = tmp_path / "elsewhere"
    for name in (f"{SHA256}.torch-1.safetensors", f"{'0' * 40}/about.json", f"{'0' * 64}.trace", ".layerzoo-0.part"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    age(folder, days=1000)
    return folder


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["converted", "downloads", "traces", "repositories"])
def test_a_folder_that_is_a_link_is_not_followed(cache: Path, elsewhere: Path, name: str):
    cache.mkdir()
    (cache / name).symlink_to(elsewhere)
    before = everything_in(elsewhere)
    prune("all", hub=True)
    prune()
    assert everything_in(elsewhere) == before


def test_a_link_in_a_folder_is_not_followed(cache: Path, elsewhere: Path):
    for folder in ("converted", "downloads", "traces"):
        (cache / folder).mkdir(parents=True)
        for path in elsewhere.iterdir():
            (cache / folder / path.name).symlink_to(path)
    before = everything_in(elsewhere)
    prune("all", hub=True)
    assert everything_in(elsewhere) == before


def test_a_folder_replaced_by_a_link_after_listing_is_not_followed(cache: Path, elsewhere: Path):
    convert(SHA256)
    (removal,) = removals(Inventory.collect(registry()), "useless")
    shutil.rmtree(cache / "converted")
    (cache / "converted").symlink_to(elsewhere)
    done = remove(removal)
    assert done.state == "failed"
    assert "it leads out of the cache directory" in str(done.detail)
    assert (elsewhere / f"{SHA256}.torch-1.safetensors").exists()


def test_only_the_record_of_a_download_with_a_foreign_path_is_removed(cache: Path, elsewhere: Path):
    folder = cache / "downloads" / ("0" * 40)
    folder.mkdir(parents=True)
    about = {"source": LINK, "name": f"../../../elsewhere/{'0' * 64}.trace", "size": 8, "digest": SHA256}
    (folder / "about.json").write_text(json.dumps(about))
    before = everything_in(elsewhere)
    assert [each.state for each in prune("all") if each.removal.item.kind == "download"] == ["removed"]
    assert everything_in(elsewhere) == before


@pytest.mark.parametrize("choice", ["damaged", "all"])
def test_a_link_out_of_huggingface_hubs_cache_is_not_followed(
    vit: Repository, declare: Declare, elsewhere: Path, choice: Choice
):
    first = vit.at("main").revision
    second = vit.commit({"config.json": '{"labels": 2}'})
    declare(old=f"hf://acme/vit@{first}", new=f"hf://acme/vit@{second}")
    pull("mine/old")
    pull("mine/new")
    (path,) = [item.path for item in kept("hub") if item.revision == first and item.name == SOURCE]
    path.unlink()
    path.symlink_to(elsewhere / f"{'0' * 64}.trace")
    before = everything_in(elsewhere)
    (done,) = prune(choice, model="mine/old", hub=True)
    assert (done.state, done.bytes) == ("failed", 0)
    assert "it leads out of the cache directory" in str(done.detail)
    assert everything_in(elsewhere) == before


def test_the_cache_directory_itself_may_be_a_link(cache: Path, hub: Hub, tmp_path: Path):
    (tmp_path / "other disk").mkdir()
    cache.symlink_to(tmp_path / "other disk")
    download(hub)
    assert [each.state for each in prune()] == ["removed"]


# ---------------------------------------------------------------- a cache in disorder


def test_a_cache_directory_that_is_a_file_is_reported(cache: Path):
    zoo = registry()
    shutil.rmtree(cache)
    cache.touch()
    with pytest.raises(CacheError, match=r"cannot be read: Not a directory\. LAYERZOO_CACHE=FOLDER"):
        Inventory.collect(zoo)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"files": 1}', '{"files": [{"name": "../x", "size": 1, "etag": "0"}]}']
)
def test_invalid_records_are_ignored(vit: Repository, cache: Path, text: str):
    pull()
    (cache / "repositories" / "acme--vit" / f"{vit.at('main').revision}.json").write_text(text)
    assert kept("hub") == []
    assert states() == {}


@pytest.mark.parametrize("name", ["converted", "downloads", "traces", "repositories"])
def test_a_file_instead_of_a_folder_is_skipped(cache: Path, name: str):
    cache.mkdir()
    (cache / name).touch()
    assert {item.kind for item in kept()} == {"index"}
    assert {each.state for each in prune("all")} == {"removed"}


def test_a_download_killed_before_its_start_is_unused(cache: Path):
    (cache / "downloads" / ("0" * 40)).mkdir(parents=True)
    assert [(item.bytes, item.useless) for item in kept("download")] == [(0, "it was begun, and holds nothing")]
    assert list(states().values()) == ["partial"]
    assert [each.state for each in prune()] == ["removed"]
