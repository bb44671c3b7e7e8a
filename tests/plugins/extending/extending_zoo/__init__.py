"""A plugin with a small network, which adds poolings, a weights format and media decoders."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo import Audio, ModelSpec, hookimpl
from layerzoo.authoring import PluginPooling
from layerzoo.weights import Files


@hookimpl
def layerzoo_build(spec: ModelSpec) -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@hookimpl
def layerzoo_pooling(name: str) -> Any:
    return {
        "rms": PluginPooling(root_mean_square, merge_squares),
        "range": PluginPooling(lambda values, mask: values.amax(1) - values.amin(1)),
        "failing": PluginPooling(lambda values, mask: values / None),
        "scalar": PluginPooling(lambda values, mask: values.sum()),
        "wrong-type": "mean",
    }.get(name)


def root_mean_square(values: Any, mask: Any) -> Any:
    inside = mask.to(values.device)[..., None]
    return ((values * inside).square().sum(1) / inside.sum(1)).sqrt()


def merge_squares(rows: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    merged: NDArray[np.float64] = np.sqrt(share @ rows**2)
    return merged


@hookimpl
def layerzoo_read_weights(spec: ModelSpec, files: Files) -> Any:
    import torch

    if files.checkpoint is None or files.checkpoint.suffix != ".npz":
        return None
    with np.load(files.checkpoint, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@hookimpl
def layerzoo_decode(path: Path, kind: str) -> Any:
    data = path.read_bytes()
    if data == b"crash":
        os._exit(3)
    if data == b"connect":
        socket.create_connection(("192.0.2.1", 80))
    if kind == "vision":  # two bytes for height and width, then a byte for each pixel
        return np.frombuffer(data, np.uint8, offset=2).reshape(data[0], data[1])
    if kind == "audio":  # the rate, then 16-bit samples
        rate = int.from_bytes(data[:4], "little")
        return Audio(np.frombuffer(data, "<i2", offset=4).astype(np.float32) / 32768, rate)
    return np.load(path)
