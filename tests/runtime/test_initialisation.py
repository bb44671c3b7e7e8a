"""Tensors that no checkpoint holds have the values that the constructor of their network gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.runtime.constants import NETWORKS, WITHOUT_INITIALISATION
from tests.sampling import sampled
from torch import Tensor, nn

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo.runtime.initialisation import Initialisation

_PLUGIN = """
from layerzoo import hookimpl

@hookimpl
def layerzoo_build(spec):
    from tests.runtime.constants import NETWORKS
    return NETWORKS[spec.args["kind"]]()
"""
_MODEL = (
    "  {name}: {{modality: vision, builder: constants, args: {{kind: {name}}}, layers: {{block.0: {layer}}}, "
    "preprocess: {{size_px: 16, resize: bilinear, mean: [0, 0, 0], std: [1, 1, 1]}}}}\n"
)


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install a plugin that builds the networks of ``tests.runtime.constants``, for the tests of this module."""
    folder = tmp_path_factory.mktemp("plugin")
    package, info = folder / "constants_zoo", folder / "constants_zoo-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: constants-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[layerzoo]\nconstants = constants_zoo\n")
    (package / "__init__.py").write_text(_PLUGIN)
    models = "".join(
        _MODEL.format(name=name, layer="{module: body, output: 0}" if name == "Recurrent" else "body")
        for name in NETWORKS
    )
    (package / "registry.yaml").write_text(f"layerzoo: 1\nbuilders: [constants]\nmodels:\n{models}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


def loaded_by_torch(name: str, path: Path) -> nn.Module:
    """Write a checkpoint that differs from the network's initialisation. Returns: the network with it."""
    torch.manual_seed(7)
    other = NETWORKS[name]()
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    state = {key: value.detach() + 0.125 for key, value in other.state_dict().items()}
    network.load_state_dict(state, strict=False)
    save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
    return network


def leave_garbage_behind() -> None:
    """Free memory of the sizes that the networks use, so that undefined values are not zero by chance."""
    garbage = [torch.full((size,), 7e20) for size in (8, 16, 64, 216) for _ in range(200)]
    del garbage


@pytest.mark.parametrize("name", sampled(list(NETWORKS), 15))
def test_a_loaded_network_equals_load_state_dict_of_torch(tmp_path: Path, name: str) -> None:
    network = loaded_by_torch(name, tmp_path / "w.safetensors")
    leave_garbage_behind()
    backbone = layerzoo.load(f"constants/{name}", layer="block.0", weights=tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(backbone.module(images)["block.0"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sampled(list(NETWORKS), 15))
def test_a_network_is_initialised_only_where_required(name: str) -> None:
    skipped = Initialisation(skip=True)
    with skipped.recorded():
        network = NETWORKS[name]()
    assert skipped.must_be_repeated(network) is (name not in WITHOUT_INITIALISATION)


def test_random_constants_are_reproducible_and_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded_by_torch("Random", tmp_path / "w.safetensors")
    before = torch.random.get_rng_state()
    one, other = (layerzoo.load("constants/Random", weights=tmp_path / "w.safetensors").module for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.network.constant, other.network.constant)  # type: ignore[arg-type, union-attr]
    assert "no checkpoint holds (constant)" in caplog.text


def test_a_parameter_missing_from_the_checkpoint_is_an_error(tmp_path: Path) -> None:
    state = NETWORKS["FromParameter"]().state_dict()
    save_file({key: value for key, value in state.items() if key != "first.weight"}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"has no 'first.weight'"):
        layerzoo.load("constants/FromParameter", weights=tmp_path / "w.safetensors")


def test_freed_memory_of_a_parameter_belongs_to_no_parameter() -> None:
    skipped = Initialisation(skip=True)
    with skipped.recorded():
        for _ in range(50):
            nn.init.ones_(nn.Parameter(torch.empty(8)))
            buffer: Tensor = nn.init.ones_(torch.empty(8))
            assert buffer.tolist() == [1.0] * 8
