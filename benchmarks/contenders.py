"""Contenders that extract pooled features of ResNet-50 after its second stage from images: users' code and layerzoo.

All use the weights of one file and timm's preprocessing for this network. Each is prepared once, which loads its
network. Each measured run returns (image, channel) float32.
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
"""Images per forward pass of every contender: layerzoo's default."""
_NETWORK, _MODULE, _LAYER = "resnet50", "layer2", "stage.1"
_WORKERS = 2
_SEED = 5

Contender = Callable[[Path, Sequence[Path]], Run]
"""Weights and image paths → the measured run."""


def write_weights(path: Path) -> None:
    """Write random weights. timm's own initialisation would multiply the residual branches by zero."""
    torch.manual_seed(_SEED)
    save_file(timm.create_model(_NETWORK, zero_init_last=False).state_dict(), path)


def script(
    weights: Path, images: Sequence[Path], network: str = _NETWORK, module: str = _MODULE, batch: int = BATCH
) -> Run:
    """Return a usual user script: timm, a DataLoader and a hook.

    Args:
        weights: of the network, or of its part up to the module.
        images: the files.
        network: timm's name.
        module: the address of the module that is hooked.
        batch: images per forward pass.
    """
    model = _network(weights, network)
    outputs: list[Tensor] = []
    model.get_submodule(module).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    loader = _loader(images, _WORKERS, network, batch)

    def run() -> FloatArray:
        features = []
        with torch.no_grad():
            for pixels in loader:
                model(pixels)
                features.append(_pooled(outputs.pop()))
        return _matrix(features)

    return run


def feature_extractor(weights: Path, images: Sequence[Path]) -> Run:
    """Return torchvision's own extractor, which removes the modules after the layer."""
    network = torchvision.models.resnet50().eval()
    network.load_state_dict(load_file(weights))
    extractor, loader = create_feature_extractor(network, {_MODULE: _LAYER}), _loader(images, _WORKERS)
    return partial(_features, lambda pixels: extractor(pixels)[_LAYER], loader)


def features_only(weights: Path, images: Sequence[Path]) -> Run:
    """Return timm's own extractor, which is made for the feature maps of detectors."""
    network = timm.create_model(_NETWORK, features_only=True, out_indices=[2]).eval()
    network.load_state_dict(load_file(weights), strict=False)
    return partial(_features, lambda pixels: network(pixels)[0], _loader(images, _WORKERS))


def layerzoo_by_default(weights: Path, images: Sequence[Path], *, precision: Precision) -> Run:
    """Return an extraction from files with a loaded backbone and default options."""
    backbone = _backbone(weights, precision)
    return lambda: layerzoo.extract(backbone, images).values


def streamed(weights: Path, images: Sequence[Path]) -> Iterator[Features]:
    """Stream the features of files with a loaded backbone."""
    yield from layerzoo.stream(_backbone(weights, "float32"), images)


def bare(weights: Path, images: Sequence[Path], *, precision: Precision) -> Run:
    """Return the cut network alone, on prepared batches: the upper limit for everything that reads files."""
    whole = _network(weights)
    cut = nn.Sequential(whole.conv1, whole.bn1, whole.act1, whole.maxpool, whole.layer1, whole.layer2)
    cut = cut.to(memory_format=torch.channels_last)
    batches = [pixels.contiguous(memory_format=torch.channels_last) for pixels in _loader(images, 0)]
    context = contextlib.nullcontext() if precision == "float32" else torch.autocast("cpu", getattr(torch, precision))

    def run() -> FloatArray:
        with context:
            return _features(cut, batches)

    return run


CONTENDERS: dict[str, Contender] = {
    "timm, DataLoader, hook": script,
    "torchvision create_feature_extractor": feature_extractor,
    "timm features_only": features_only,
    "layerzoo float32": partial(layerzoo_by_default, precision="float32"),
    "layerzoo bfloat16": partial(layerzoo_by_default, precision="bfloat16"),
    "bare cut network float32": partial(bare, precision="float32"),
    "bare cut network bfloat16": partial(bare, precision="bfloat16"),
}


def prepared(weights: Path, images: Sequence[Path], name: str) -> Run:
    return CONTENDERS[name](weights, images)


def _backbone(weights: Path, precision: Precision) -> Backbone:
    spec = ModelSpec(id="mine/resnet50", modality="vision", builder="timm", args=FrozenMap({"name": _NETWORK}))
    return layerzoo.load(spec, layer=_LAYER, pool="mean", weights=weights, precision=precision)


class _ImageFiles(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], name: str) -> None:
        network = timm.create_model(name)
        self._paths = paths
        self._transform = create_transform(**resolve_model_data_config(network), is_training=False)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        pixels: Tensor = self._transform(Image.open(self._paths[index]).convert("RGB"))
        return pixels


def _loader(images: Sequence[Path], workers: int, network: str = _NETWORK, batch: int = BATCH) -> DataLoader[Tensor]:
    return DataLoader(_ImageFiles(images, network), batch, num_workers=workers)


def _network(weights: Path, name: str = _NETWORK) -> Any:
    network = timm.create_model(name).eval()
    network.load_state_dict(load_file(weights), strict=name == _NETWORK)
    return network


def _features(extract: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> FloatArray:
    with torch.no_grad():
        return _matrix([_pooled(extract(pixels)) for pixels in batches])


def _pooled(activation: Tensor) -> Tensor:
    return activation.float().mean((2, 3))


def _matrix(features: Sequence[Tensor]) -> FloatArray:
    joined: FloatArray = torch.cat(list(features)).numpy()
    return joined
