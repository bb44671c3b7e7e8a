"""Ways from pictures to the pooled features of ResNet-50 after its second stage: those that users write, and layerzoo.

All have the weights of one file and timm's preprocessing for this network. Each is prepared once, which loads its
network; what it then does again and again gives (picture, channel) float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from benchmarks.turns import FloatArray, Run
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.feature_extraction import create_feature_extractor

import layerzoo
from layerzoo import Features, ModelSpec
from layerzoo.runtime import Backbone
from layerzoo.runtime.precision import Precision
from layerzoo.spec import FrozenMap

BATCH = 32
"""Pictures in one forward pass of every contender: what layerzoo takes by itself."""
_NETWORK, _MODULE, _LAYER = "resnet50", "layer2", "stage.1"
_WORKERS = 2
_SEED = 5

Contender = Callable[[Path, Sequence[Path]], Run]
"""weights, pictures → what is measured."""


def write_weights(path: Path) -> None:
    """Random weights of which every one counts: timm's own initialisation switches the branches of the blocks off."""
    torch.manual_seed(_SEED)
    save_file(timm.create_model(_NETWORK, zero_init_last=False).state_dict(), path)


def script(weights: Path, pictures: Sequence[Path]) -> Run:
    """What a user writes today: timm, a DataLoader and a hook."""
    network = _network(weights)
    kept: list[Tensor] = []
    network.get_submodule(_MODULE).register_forward_hook(lambda module, inputs, output: kept.append(output))
    loader = _loader(pictures, _WORKERS)

    def run() -> FloatArray:
        features = []
        with torch.no_grad():
            for pixels in loader:
                network(pixels)
                features.append(_pooled(kept.pop()))
        return _matrix(features)

    return run


def feature_extractor(weights: Path, pictures: Sequence[Path]) -> Run:
    """torchvision's own extractor, which leaves out what comes after the layer."""
    network = torchvision.models.resnet50().eval()
    network.load_state_dict(load_file(weights))
    extractor, loader = create_feature_extractor(network, {_MODULE: _LAYER}), _loader(pictures, _WORKERS)
    return partial(_features, lambda pixels: extractor(pixels)[_LAYER], loader)


def features_only(weights: Path, pictures: Sequence[Path]) -> Run:
    """timm's own extractor, made for the feature maps that detectors want."""
    network = timm.create_model(_NETWORK, features_only=True, out_indices=[2]).eval()
    network.load_state_dict(load_file(weights), strict=False)
    return partial(_features, lambda pixels: network(pixels)[0], _loader(pictures, _WORKERS))


def layerzoo_as_it_comes(weights: Path, pictures: Sequence[Path], *, precision: Precision) -> Run:
    """A loaded backbone, asked for the features of files."""
    backbone = _backbone(weights, precision)
    return lambda: layerzoo.extract(backbone, pictures).values


def streamed_through(weights: Path, pictures: Sequence[Path]) -> Iterator[Features]:
    """The same, in pieces."""
    yield from layerzoo.stream(_backbone(weights, "float32"), pictures)


def bare(weights: Path, pictures: Sequence[Path], *, precision: Precision) -> Run:
    """The cut network alone, on batches that are ready: nothing that reads pictures can be faster."""
    whole = _network(weights)
    cut = nn.Sequential(whole.conv1, whole.bn1, whole.act1, whole.maxpool, whole.layer1, whole.layer2)
    cut = cut.to(memory_format=torch.channels_last)
    ready = [pixels.contiguous(memory_format=torch.channels_last) for pixels in _loader(pictures, 0)]
    context = contextlib.nullcontext() if precision == "float32" else torch.autocast("cpu", getattr(torch, precision))

    def run() -> FloatArray:
        with context:
            return _features(cut, ready)

    return run


CONTENDERS: dict[str, Contender] = {
    "timm, DataLoader, hook": script,
    "torchvision create_feature_extractor": feature_extractor,
    "timm features_only": features_only,
    "layerzoo float32": partial(layerzoo_as_it_comes, precision="float32"),
    "layerzoo bfloat16": partial(layerzoo_as_it_comes, precision="bfloat16"),
    "bare cut network float32": partial(bare, precision="float32"),
    "bare cut network bfloat16": partial(bare, precision="bfloat16"),
}


def prepared(weights: Path, pictures: Sequence[Path], name: str) -> Run:
    return CONTENDERS[name](weights, pictures)


def _backbone(weights: Path, precision: Precision) -> Backbone:
    spec = ModelSpec(id="mine/resnet50", modality="vision", builder="timm", args=FrozenMap({"name": _NETWORK}))
    return layerzoo.load(spec, layer=_LAYER, pool="mean", weights=weights, precision=precision)


class _Pictures(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path]) -> None:
        network = timm.create_model(_NETWORK)
        self._paths = paths
        self._transform = create_transform(**resolve_model_data_config(network), is_training=False)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        pixels: Tensor = self._transform(Image.open(self._paths[index]).convert("RGB"))
        return pixels


def _loader(pictures: Sequence[Path], workers: int) -> DataLoader[Tensor]:
    return DataLoader(_Pictures(pictures), BATCH, num_workers=workers)


def _network(weights: Path) -> Any:
    network = timm.create_model(_NETWORK).eval()
    network.load_state_dict(load_file(weights))
    return network


def _features(extract: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> FloatArray:
    with torch.no_grad():
        return _matrix([_pooled(extract(pixels)) for pixels in batches])


def _pooled(activation: Tensor) -> Tensor:
    return activation.float().mean((2, 3))


def _matrix(features: Sequence[Tensor]) -> FloatArray:
    joined: FloatArray = torch.cat(list(features)).numpy()
    return joined
