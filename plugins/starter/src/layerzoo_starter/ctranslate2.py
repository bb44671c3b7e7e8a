"""Reading CTranslate2's model.bin (binary version 6), and Whisper's encoder out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from layerzoo.errors import WeightsError

_VERSION = 6
_U8, _U16, _U32 = Struct("<B"), Struct("<H"), Struct("<I")
_DTYPES: dict[int, np.dtype[Any]] = dict(enumerate(np.dtype(name) for name in ("<f4", "i1", "<i2", "<i4", "<f2")))


def read_model(path: Path) -> dict[str, Tensor]:
    """Return every variable of a model.bin by name, aliases included, in the stored types.

    Little endian: version, name and revision of the specification, then for each variable its name, rank, sizes, type,
    length in bytes and values; last the aliases. A string is its length and its bytes, the last of which is NUL.
    Raises: WeightsError for another version or a file that ends early.
    Source: python/ctranslate2/specs/model_spec.py of CTranslate2 4.
    """
    with path.open("rb") as file:
        version = _number(file, _U32)
        if version != _VERSION:
            raise WeightsError(f"{path.name}: binary version {version} of CTranslate2; only {_VERSION} can be read")
        _string(file), _number(file, _U32)  # name and revision of the specification
        variables = dict(_variable(file) for _ in range(_number(file, _U32)))
        aliases = [(_string(file), _string(file)) for _ in range(_number(file, _U32))]
    return variables | {alias: variables[target] for alias, target in aliases}


def whisper_encoder(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder under transformers' names, in float32.

    CTranslate2 stacks query, key and value in one matrix (`linear_0`); Whisper's key has no bias, which is stored as 0.
    """
    encoder_variables = {
        name.removeprefix("encoder/"): value for name, value in variables.items() if name.startswith("encoder/")
    }
    layers = sorted({int(number[1]) for name in encoder_variables if (number := re.match(r"layer_(\d+)/", name))})
    tensors = {
        "embed_positions.weight": encoder_variables["position_encodings/encodings"],
        **_pair("layer_norm", encoder_variables, "layer_norm", scale="gamma", shift="beta"),
        **_pair("conv1", encoder_variables, "conv1"),
        **_pair("conv2", encoder_variables, "conv2"),
    }
    for index in layers:
        tensors.update(_layer(f"layers.{index}", f"layer_{index}", encoder_variables))
    return {name: value.float() for name, value in tensors.items()}


def _layer(path: str, prefix: str, variables: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    attention = f"{prefix}/self_attention"
    weights = variables[f"{attention}/linear_0/weight"].chunk(3)
    biases = variables[f"{attention}/linear_0/bias"].chunk(3)
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
        yield f"{path}.self_attn.{name}.weight", weight
        if name != "k_proj":
            yield f"{path}.self_attn.{name}.bias", bias
    norm = {"scale": "gamma", "shift": "beta"}
    yield from _pair(f"{path}.self_attn.out_proj", variables, f"{attention}/linear_1").items()
    yield from _pair(f"{path}.self_attn_layer_norm", variables, f"{attention}/layer_norm", **norm).items()
    yield from _pair(f"{path}.fc1", variables, f"{prefix}/ffn/linear_0").items()
    yield from _pair(f"{path}.fc2", variables, f"{prefix}/ffn/linear_1").items()
    yield from _pair(f"{path}.final_layer_norm", variables, f"{prefix}/ffn/layer_norm", **norm).items()


def _pair(
    path: str, variables: Mapping[str, Tensor], prefix: str, *, scale: str = "weight", shift: str = "bias"
) -> dict[str, Tensor]:
    return {f"{path}.weight": variables[f"{prefix}/{scale}"], f"{path}.bias": variables[f"{prefix}/{shift}"]}


def _variable(file: BinaryIO) -> tuple[str, Tensor]:
    name = _string(file)
    shape = tuple(_number(file, _U32) for _ in range(_number(file, _U8)))
    dtype = _DTYPES[_number(file, _U8)]
    values = np.frombuffer(_exactly(file, _number(file, _U32)), dtype=dtype)
    return name, torch.from_numpy(values.reshape(shape).copy())


def _string(file: BinaryIO) -> str:
    return _exactly(file, _number(file, _U16)).rstrip(b"\0").decode()


def _number(file: BinaryIO, kind: Struct) -> int:
    return int(kind.unpack(_exactly(file, kind.size))[0])


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise WeightsError(f"{file.name} ends early: it is cut short, or no CTranslate2 model")
    return data
