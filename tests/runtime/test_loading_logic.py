"""A network's loading logic runs like in ``load_state_dict``, and reads only the tensors that it uses."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.runtime.loading_networks import CASES, Plain
from torch import Tensor, nn

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.checkpoint import open_checkpoint
from layerzoo.runtime.construct import build_uninitialised
from layerzoo.runtime.fill import fetch_for
from layerzoo.weights import resolve

_PLUGIN = """
from layerzoo import hookimpl

@hookimpl
def layerzoo_build(spec):
    from tests.runtime.loading_networks import CASES
    return CASES[spec.args["kind"]][0]()
"""
_MODEL = (
    '  "{id}": {{modality: vision, builder: loading, args: {{kind: "{name}"}}, layers: {{block.0: body, head: head}}, '
    "preprocess: {{size_px: 8, resize: bilinear, mean: [0, 0, 0], std: [1, 1, 1]}}}}\n"
)


PICKLED = ("extra state", "versioned module", "weight norm, old names")
"""Cases in which a pickled checkpoint holds more than a safetensors file, and one more."""


def model_id(name: str) -> str:
    return "loading/" + "".join(letter if letter.isalnum() else "-" for letter in name.lower())


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install a plugin that builds the networks of ``tests.runtime.loading_networks``."""
    folder = tmp_path_factory.mktemp("plugin")
    package, info = folder / "loading_zoo", folder / "loading_zoo-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loading-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[layerzoo]\nloading = loading_zoo\n")
    (package / "__init__.py").write_text(_PLUGIN)
    models = "".join(_MODEL.format(id=model_id(name).removeprefix("loading/"), name=name) for name in CASES)
    (package / "registry.yaml").write_text(f"layerzoo: 1\nbuilders: [loading]\nmodels:\n{models}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


def checkpoint_of(name: str) -> OrderedDict[str, Any]:
    """Return a state dict with other values than the network's initialisation, with the versions that torch stores."""
    kind, change = CASES[name]
    torch.manual_seed(7)
    state = kind().state_dict()
    made = OrderedDict((key, value.clone() if isinstance(value, Tensor) else value) for key, value in state.items())
    changed = OrderedDict(change(made))
    changed._metadata = state._metadata  # type: ignore[attr-defined]
    return changed


def loaded_by_torch(name: str, state: OrderedDict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    network = CASES[name][0]().eval()
    copied = OrderedDict((key, value.clone() if isinstance(value, Tensor) else value) for key, value in state.items())
    if (versions := getattr(state, "_metadata", None)) is not None:
        copied._metadata = versions  # type: ignore[attr-defined]
    network.load_state_dict(copied)
    return network


def leave_garbage_behind() -> None:
    garbage = [torch.full((size,), 7e20) for size in (1, 4, 5, 12, 16, 20) for _ in range(200)]
    del garbage


def assert_equal_to_torch(name: str, state: OrderedDict[str, Any], path: Path) -> None:
    network = loaded_by_torch(name, state)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = {}
        network.body.register_forward_hook(lambda module, args, output: expected.update({"block.0": output}))
        expected["head"] = network(images)
        for layer in ("block.0", "head"):
            leave_garbage_behind()
            backbone = layerzoo.load(model_id(name), layer=layer, weights=path, allow_pickle=True)
            torch.testing.assert_close(backbone.module(images)[layer], expected[layer], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in PICKLED else pytest.mark.slow) for name in CASES]
)
def test_a_pickled_checkpoint_equals_load_state_dict_of_torch(tmp_path: Path, name: str) -> None:
    state = checkpoint_of(name)
    torch.save(state, tmp_path / "w.pth")
    assert_equal_to_torch(name, state, tmp_path / "w.pth")


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("extra state", "version required")])
def test_a_safetensors_checkpoint_equals_load_state_dict_of_torch(tmp_path: Path, name: str) -> None:
    state = OrderedDict(checkpoint_of(name))
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors")
    assert_equal_to_torch(name, state, tmp_path / "w.safetensors")


def test_without_stored_versions_a_network_that_requires_them_gets_its_own(tmp_path: Path) -> None:
    state = checkpoint_of("version required")
    save_file(dict(state), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="version should be set"):
        loaded_by_torch("version required", OrderedDict(state))
    assert_equal_to_torch("version required", state, tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["renaming pre-hook", "weight norm, old names", "computing pre-hook", "extra state"])
def test_only_tensors_used_by_the_cut_and_the_loading_logic_are_read(tmp_path: Path, name: str) -> None:
    state = checkpoint_of(name)
    torch.save(state, tmp_path / "w.pth")
    loaded = layerzoo.load(model_id(name), layer="block.0", weights=tmp_path / "w.pth", allow_pickle=True).provenance
    assert loaded["loaded"]["tensors"] == sum(key.startswith("body.") for key in state)
    assert loaded["loaded"]["of_tensors"] == len(state)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("renaming pre-hook", "block.0"),
        ("computing pre-hook", "block.0"),
        ("numpy pre-hook", "head"),
        ("plain", "head"),
    ],
)
def test_only_the_read_tensors_are_downloaded(tmp_path: Path, name: str, layer: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({key: value.contiguous() for key, value in checkpoint_of(name).items()}, path)
    backbone = layerzoo.load(model_id(name), layer=layer, weights=path)
    resolved = resolved_model(backbone)
    files = resolve(None, path, model="x", extent="whole")
    network = build_uninitialised(resolved.spec, resolved.hooks, files)
    cut = resolved.cut(backbone.layers)
    checkpoint = open_checkpoint(resolved.spec, files, resolved.hooks)
    fetched = fetch_for(network, cut, checkpoint, model="x")
    loaded = backbone.provenance["loaded"]
    assert (fetched.tensors, fetched.bytes) == (loaded["tensors"], loaded["bytes"])


def test_loading_logic_runs_after_the_prefix_of_a_wrapper_is_removed(tmp_path: Path) -> None:
    state = checkpoint_of("weight norm, old names")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save(wrapped, tmp_path / "w.pth")
    assert_equal_to_torch("weight norm, old names", OrderedDict(state), tmp_path / "w.pth")


def test_the_versions_of_a_wrapped_state_dict_are_used(tmp_path: Path) -> None:
    state = checkpoint_of("versioned module")
    wrapped = OrderedDict((f"module.{key}", value) for key, value in state.items())
    versions = {f"module.{path}" if path else "module": kept for path, kept in state._metadata.items()}  # type: ignore[attr-defined]
    wrapped._metadata = {"": {"version": 1}, **versions}  # type: ignore[attr-defined]
    torch.save({"state_dict": wrapped}, tmp_path / "w.pth")
    assert_equal_to_torch("versioned module", state, tmp_path / "w.pth")


def refusal(name: str, path: Path, layer: str = "head") -> str:
    with pytest.raises(WeightsError) as caught:
        layerzoo.load(model_id(name), layer=layer, weights=path, allow_pickle=True)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("renaming pre-hook", lambda state: state.pop("body.old_weight"), "has no 'body.weight'"),
        ("renaming pre-hook", lambda state: state.update({"body.old_bias": torch.ones(7)}), "mismatch for body.bias"),
        ("extra state", lambda state: state.pop("body._extra_state"), "has no 'body._extra_state', the extra state"),
        ("extra state", lambda state: state.update({"body._extra_state": 3}), "its own loading code does not take"),
        ("computing pre-hook", lambda state: state.pop("body.direction"), "its own loading code does not take"),
    ],
)
def test_checkpoints_refused_by_torch_are_refused(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    state = checkpoint_of(name)
    change(state)
    with pytest.raises(Exception):  # noqa: B017 - whatever the network's own code raises
        loaded_by_torch(name, state)
    torch.save(state, tmp_path / "w.pth")
    assert message in refusal(name, tmp_path / "w.pth")


def test_tensors_after_the_cut_may_be_missing_or_have_another_shape(tmp_path: Path) -> None:
    state = checkpoint_of("renaming pre-hook")
    del state["second.weight"]
    state["head.weight"] = torch.ones(9, 4, 1, 1)
    torch.save(state, tmp_path / "w.pth")
    layerzoo.load(model_id("renaming pre-hook"), layer="block.0", weights=tmp_path / "w.pth", allow_pickle=True)
    assert "size mismatch for head.weight" in refusal("renaming pre-hook", tmp_path / "w.pth")


def test_an_extra_state_that_no_module_loads_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(checkpoint_of("plain") | {"body._extra_state": {"scale": 2.0}}, tmp_path / "w.pth")
    with caplog.at_level(logging.WARNING, "layerzoo"):
        layerzoo.load(model_id("plain"), layer="block.0", weights=tmp_path / "w.pth", allow_pickle=True)
    assert "'body._extra_state', and the network's module loads no extra state: it is not used" in caplog.text


def test_loading_leaves_no_hook_in_the_network(tmp_path: Path) -> None:
    torch.save(checkpoint_of("renaming pre-hook"), tmp_path / "w.pth")
    backbone = layerzoo.load(model_id("renaming pre-hook"), weights=tmp_path / "w.pth", allow_pickle=True)
    network = backbone.module.network
    assert isinstance(network, Plain)
    assert not network._load_state_dict_post_hooks


def test_a_sparse_tensor_of_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(checkpoint_of("plain") | {"body.weight": torch.eye(4).to_sparse()}, tmp_path / "w.pth")
    assert "'body.weight' in the checkpoint is a sparse tensor" in refusal("plain", tmp_path / "w.pth")
