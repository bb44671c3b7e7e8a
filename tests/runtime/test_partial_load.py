"""Only tensors before the cut are read from the disk and, on request, downloaded from a hub."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from tests.hub import Hub, Repository

import layerzoo
from layerzoo.errors import (
    ChangedError,
    DigestError,
    LayerzooError,
    MissingOnServerError,
    UnsafeWeightsError,
    WeightsError,
)

ARGS = {"name": "vit_tiny_patch16_224", "depth": 4}
FILE = "*.safetensors"
INDEX = "model.safetensors.index.json"
DEEP, SHALLOW = "block.2", "block.0"


@pytest.fixture(scope="module")
def vit() -> dict[str, torch.Tensor]:
    """Return random weights of a small ViT, of 8 MB: tensors of realistic size, 1.8 MB of them in each of four
    blocks."""
    torch.manual_seed(0)
    return {
        name: value.contiguous()
        for name, value in timm.create_model("vit_tiny_patch16_224", depth=4).state_dict().items()
    }


def in_shards(state: Mapping[str, torch.Tensor], count: int = 3, folder: str = "") -> dict[str, bytes]:
    """Return the files of a sharded checkpoint, as transformers saves it. folder: of the shards, with a slash."""
    names = sorted(state)
    homes = {
        name: f"{folder}model-{1 + at * count // len(names):05}-of-{count:05}.safetensors"
        for at, name in enumerate(names)
    }
    held = {home: {name: state[name] for name in names if homes[name] == home} for home in homes.values()}
    index = json.dumps({"metadata": {}, "weight_map": homes})
    return {INDEX: index.encode(), **{home: save(tensors) for home, tensors in held.items()}}


def declare(home: Path, vit: str | None = None, **sources: str) -> None:
    """Write the user's registry.yaml. vit, sources: the weights of mine/vit, and of models by name."""
    sources |= {"vit": vit} if vit else {}
    models = {
        f"mine/{name}": {"modality": "vision", "builder": "timm", "args": ARGS, "weights": source}
        for name, source in sources.items()
    }
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": models}))


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(params=["single", "in shards"])
def files(request: pytest.FixtureRequest, vit: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {"model.safetensors": save(vit)} if request.param == "single" else in_shards(vit)


@pytest.fixture
def hosted(connected: Hub, home: Path, files: dict[str, bytes]) -> Repository:
    """Publish acme/vit on a hub, and declare it as mine/vit at its commit."""
    repository = connected.repository("acme/vit")
    revision = repository.commit(files)
    declare(home, f"hf://acme/vit@{revision}/{next(iter(files))}")
    return repository


def load(layer: str, **options: Any) -> layerzoo.Backbone:
    return layerzoo.load("mine/vit", layer=layer, **options)


def activations(backbone: layerzoo.Backbone) -> torch.Tensor:
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found: torch.Tensor
        (found,) = backbone.module(batch).values()
    return found


def tensors(backbone: layerzoo.Backbone) -> dict[str, torch.Tensor]:
    """Return the tensors of a backbone by their keys in the whole network."""
    return {name.removeprefix("network."): value for name, value in backbone.module.state_dict().items()}


def needed_bytes(backbone: layerzoo.Backbone) -> int:
    return int(backbone.provenance["loaded"]["bytes"])


# ---------------------------------------------------------------- from the disk


READ = """
import json, sys
import layerzoo
from layerzoo.paths import cache_dir

def read():
    with open("/proc/self/io") as io:
        return int(io.readline().split()[1])

layerzoo.load("mine/warm", layer=sys.argv[1])  # for what is imported
for model in ("mine/single", "mine/shards"):
    layerzoo.load(model, layer=sys.argv[1], weights="random:0")  # for the trace
    before = read()
    loaded = layerzoo.load(model, layer=sys.argv[1]).provenance["loaded"]
    trace = max(path.stat().st_size for path in (cache_dir() / "traces").iterdir())  # which is read as well
    print(json.dumps([read() - before - trace, loaded["bytes"], loaded["of_bytes"]]))
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
def test_only_tensors_of_the_cut_are_read_from_the_disk(home: Path, vit: dict[str, torch.Tensor]) -> None:
    """From a single file, and from three."""
    sources = {
        name: write_files(home / name, files)
        for name, files in {
            "warm": {"model.safetensors": save(vit)},
            "single": {"model.safetensors": save(vit)},
            "shards": in_shards(vit),
        }.items()
    }
    declare(home, **{name: f"file:{folder}/" for name, folder in sources.items()})
    done = subprocess.run([sys.executable, "-c", READ, SHALLOW], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for read, needed, everything in map(json.loads, done.stdout.splitlines()):
        assert needed < 0.5 * everything
        assert 0.99 * needed <= read <= 1.02 * needed


@pytest.mark.parametrize("layer", [SHALLOW, DEEP, "norm"])
def test_a_cut_from_any_checkpoint_files_equals_the_whole_network(
    home: Path, files: dict[str, bytes], vit: dict[str, torch.Tensor], layer: str
) -> None:
    for name, data in files.items():
        (home / name).write_bytes(data)
    declare(home, f"file:{home}/{next(iter(files))}")
    network = timm.create_model("vit_tiny_patch16_224", depth=4)
    network.load_state_dict(vit)
    kept: list[torch.Tensor] = []
    module = network.norm if layer == "norm" else network.blocks[int(layer[-1])]
    module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.inference_mode():
        network.eval()(torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(activations(load(layer)), kept[0])


def test_shards_may_be_in_a_folder_below_their_index(connected: Hub, home: Path, vit: dict[str, torch.Tensor]) -> None:
    files = in_shards(vit, folder="shards/")
    published = connected.repository("acme/vit")
    sources = [f"file:{write_files(home / 'vit', files)}/", f"hf://acme/vit@{published.commit(files)}"]
    for source in sources:
        declare(home, source)
        assert torch.equal(tensors(load(SHALLOW))["cls_token"], vit["cls_token"])


def test_an_index_that_names_a_missing_tensor_of_a_shard_is_refused(home: Path, vit: dict[str, torch.Tensor]) -> None:
    files = in_shards(vit)
    weights = json.loads(files[INDEX])
    weights["weight_map"]["cls_token"], weights["weight_map"]["norm.bias"] = (
        "model-00003-of-00003.safetensors",
        "model-00001-of-00003.safetensors",
    )
    write(home, {**files, INDEX: json.dumps(weights).encode()})
    with pytest.raises(WeightsError, match=r"says that '.*' is in model-0000\d-of-00003.safetensors, and it is not"):
        load(SHALLOW)


def test_a_missing_shard_is_named(home: Path, vit: dict[str, torch.Tensor]) -> None:
    files = in_shards(vit)
    del files["model-00002-of-00003.safetensors"]
    write(home, files)
    with pytest.raises(WeightsError, match=r"model-00002-of-00003\.safetensors"):
        load(SHALLOW)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a\\..\\b.safetensors"])
def test_a_shard_outside_of_the_folder_is_refused(home: Path, name: str) -> None:
    write(home, {INDEX: json.dumps({"weight_map": {"cls_token": name}}).encode()})
    with pytest.raises(UnsafeWeightsError, match="may lead out of its folder"):
        load(SHALLOW)


def write(home: Path, files: Mapping[str, bytes]) -> None:
    declare(home, f"file:{write_files(home / 'vit', files)}/")


# ---------------------------------------------------------------- from a hub


def test_only_tensors_of_the_cut_are_downloaded_and_a_deeper_cut_downloads_the_rest(
    connected: Hub, hosted: Repository, files: dict[str, bytes], home: Path
) -> None:
    shallow = load(SHALLOW, partial=True)
    first = connected.bytes_sent(FILE)
    assert needed_bytes(shallow) <= first <= 1.02 * needed_bytes(shallow) + 20_000  # headers, of a small checkpoint

    deep = load(DEEP, partial=True)
    assert connected.bytes_sent(FILE) - first <= 1.02 * (needed_bytes(deep) - needed_bytes(shallow)) + 1000

    connected.requests.clear()
    assert torch.equal(activations(load(DEEP, partial=True)), activations(deep))
    assert connected.requests == []

    sent_before = needed_bytes(deep)
    whole = load(DEEP)
    size = sum(len(data) for name, data in files.items() if name.endswith(".safetensors"))
    assert connected.bytes_sent(FILE) <= size - sent_before
    assert torch.equal(activations(whole), activations(deep))
    snapshot = home.parent / "huggingface/hub/models--acme--vit/snapshots" / hosted.at("main").revision
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == files
    assert not list((home.parent / "cache/downloads").glob("*/*.safetensors"))


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_provenance_of_a_partial_download_names_its_source(hosted: Repository, files: dict[str, bytes]) -> None:
    weights = load(SHALLOW, partial=True).provenance["weights"]
    commit = hosted.at("main")
    assert (weights["revision"], weights["pinned_by"]) == (commit.revision, "declaration")
    stated = {name: blob.sha256 for name, blob in commit.files.items() if name.endswith(".safetensors")}
    assert weights["sha256"].items() >= stated.items()


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_adjacent_tensors_are_downloaded_in_few_requests(connected: Hub, hosted: Repository) -> None:
    tensors = load(DEEP, partial=True).provenance["loaded"]["tensors"]
    assert tensors > 30
    assert len([request for request in connected.requests if request.matches(FILE)]) <= 12


@pytest.mark.parametrize("files", ["single"], indirect=True)
@pytest.mark.parametrize("fault", [Hub.ignore_ranges, Hub.wrong_content_range])
def test_a_server_without_ranges_sends_the_whole_checkpoint(
    connected: Hub, hosted: Repository, vit: dict[str, torch.Tensor], fault: Callable[[Hub, str], None]
) -> None:
    fault(connected, FILE)
    found = tensors(load(SHALLOW, partial=True))
    assert found
    assert all(torch.equal(value, vit[name]) for name, value in found.items())


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_a_checkpoint_from_another_host_is_downloaded_in_part(
    home: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub(cdn=True) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(home.parent / "huggingface"))
        revision = hub.repository("acme/vit").commit(files)
        declare(home, f"hf://acme/vit@{revision}/{next(iter(files))}")
        part = load(SHALLOW, partial=True)
        assert hub.bytes_sent("/cdn/*") <= 1.02 * needed_bytes(part) + 20_000
        assert torch.equal(activations(part), activations(load(SHALLOW)))


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_changed_content_between_two_requests_is_detected(
    connected: Hub, hosted: Repository, vit: dict[str, torch.Tensor]
) -> None:
    other = save({name: value + 1 for name, value in vit.items()})
    revision = hosted.at("main").revision
    connected.meanwhile(FILE, lambda: hosted.rewrite(revision, {"model.safetensors": other}), after=2, times=1)
    with pytest.raises(ChangedError, match="is not the file on the server that it was: its x-linked-etag was"):
        load(SHALLOW, partial=True)


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_a_changed_byte_is_detected_in_the_complete_file(connected: Hub, hosted: Repository) -> None:
    connected.corrupt(FILE, after=2)  # ranges are requested concurrently: whichever is third
    load(SHALLOW, partial=True)
    connected.heal()
    with pytest.raises(DigestError, match="it was removed"):
        load(SHALLOW)
    assert load(SHALLOW) is not None


def test_any_server_fault_gives_the_right_network_or_a_layerzoo_error(
    connected: Hub, hosted: Repository, vit: dict[str, torch.Tensor]
) -> None:
    ok = 0
    for seed in range(3):
        connected.heal()
        connected.misbehave("/acme/*", seed, rate=0.25)
        try:
            found = tensors(load(SHALLOW if seed % 2 else DEEP, partial=seed < 2))
        except LayerzooError:
            continue
        ok += 1
        assert all(torch.equal(value, vit[name]) for name, value in found.items())
    assert ok


@pytest.mark.parametrize("files", ["single"], indirect=True)
def test_a_killed_load_continues(connected: Hub, hosted: Repository, home: Path) -> None:
    connected.slow(FILE, bytes_per_second=3e6)
    program = "import layerzoo; print('go', flush=True); layerzoo.load('mine/vit', layer='block.2', partial=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=home,
        stdout=subprocess.PIPE,
        env=connected.environment(home.parent / "huggingface", LAYERZOO_CACHE=os.environ["LAYERZOO_CACHE"]),
    )
    while connected.bytes_sent(FILE) < 500_000 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    connected.heal()
    part = load(DEEP, partial=True)
    assert torch.equal(activations(part), activations(load(DEEP)))


# ---------------------------------------------------------------- mismatched and invalid checkpoints


def damaged(data: bytes, **changes: Any) -> bytes:
    """Return a safetensors file with a modified header. changes: of the entry of one tensor, ``cls_token``."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["cls_token"] |= changes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "cut short|claims|describes"),
        (lambda data: data[:3], "it has only 3 bytes"),
        (lambda data: damaged(data, data_offsets=[0, 10**15]), "cannot be read as safetensors"),
        (lambda data: damaged(data, data_offsets=[8, 776]), "cannot be read as safetensors"),
        (lambda data: damaged(data, shape=[1, 1, 7]), "cannot be read as safetensors"),
        (lambda data: damaged(data, dtype="F31"), "cannot be read as safetensors"),
        (lambda data: (10**14).to_bytes(8, "little") + data[8:], "its header claims 100,000,000,000,000 bytes"),
        (lambda data: data[:8] + b"[" + data[9:], "cannot be read as safetensors"),
        (lambda data: b"\x80\x04" + data[2:], "its header claims|cannot be read"),
    ],
)
def test_a_checkpoint_damaged_on_the_server_is_reported(
    connected: Hub,
    home: Path,
    vit: dict[str, torch.Tensor],
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    data = change(save({name: value for name, value in vit.items() if not name.startswith("blocks")}))
    revision = connected.repository("acme/vit").commit({"model.safetensors": data})
    declare(home, f"hf://acme/vit@{revision}")
    with pytest.raises(WeightsError, match=message):
        load(SHALLOW, partial=True)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load(SHALLOW)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cls_token", None, "the checkpoint model.safetensors has no 'cls_token'"),
        (
            "cls_token",
            torch.zeros(1, 1, 7),
            r"'cls_token' is \(1, 1, 7\) in the checkpoint and \(1, 1, 192\) in the network",
        ),
    ],
)
def test_a_mismatched_checkpoint_is_reported_before_its_tensors_are_downloaded(
    connected: Hub, home: Path, vit: dict[str, torch.Tensor], name: str, value: torch.Tensor | None, message: str
) -> None:
    state = {each: tensor for each, tensor in vit.items() if each != name} | ({} if value is None else {name: value})
    revision = connected.repository("acme/vit").commit({"model.safetensors": save(state)})
    declare(home, f"hf://acme/vit@{revision}")
    with pytest.raises(WeightsError, match=message):
        load(SHALLOW, partial=True)
    assert connected.bytes_sent(FILE) < 30_000


def test_a_shard_missing_from_the_repository_is_reported(
    connected: Hub, home: Path, vit: dict[str, torch.Tensor]
) -> None:
    files = in_shards(vit)
    del files["model-00002-of-00003.safetensors"]
    revision = connected.repository("acme/vit").commit(files)
    declare(home, f"hf://acme/vit@{revision}")
    with pytest.raises(MissingOnServerError, match=r"has no file 'model-00002-of-00003.safetensors' at"):
        load(SHALLOW, partial=True)


# ---------------------------------------------------------------- pickles


def test_a_pickle_is_opened_only_if_it_is_locked(connected: Hub, home: Path, vit: dict[str, torch.Tensor]) -> None:
    from layerzoo.weights.locking import change_lock, lock_model

    pickled = io.BytesIO()
    torch.save(vit, pickled)
    connected.repository("acme/vit").commit({"pytorch_model.bin": pickled.getvalue()})
    declare(home, "hf://acme/vit")
    with pytest.raises(UnsafeWeightsError, match=r"or locked \(zoo lock MODEL\), or with --allow-pickle"):
        load(SHALLOW)
    assert load(SHALLOW, allow_pickle=True) is not None
    change_lock(lambda lock: lock.with_models({"mine/vit": lock_model(layerzoo.model("mine/vit"))}))
    found = tensors(load(SHALLOW))
    assert all(torch.equal(value, vit[name]) for name, value in found.items())
