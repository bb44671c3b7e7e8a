"""Measure the effect of padding: ``python -m tools.certify.padding [TYPE…]`` writes the plugin's padding.toml.

A small network of each type runs on texts of random tokens, or on noise as audio: each sample alone, and all in one
batch, padded on the right under an attention mask. Its weights are random, with noise added to the initialisation. The
error of a type is the largest difference between the valid positions of a hidden state, relative to their length.
Audio networks are measured if they compute frames from raw audio.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tools.certify.exact import disturb
from tools.certify.shrink import Shrink, small
from tools.certify.transformers import architectures, sample_like
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig

import layerzoo
from layerzoo.jobs.workers import WorkerLimits, results
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo.weights import Files
from layerzoo_hf.families import padding_errors
from layerzoo_hf.frames import frame_and_hop
from layerzoo_hf.parts import arguments, modality_of
from layerzoo_hf.text import describe_text

LENGTHS = (9, 17, 64, 150, 400)
"""Lengths of the texts in tokens, limited to the longest input of the network."""
SAMPLES = (1_500, 5_000, 9_999, 16_000, 40_321)
"""Lengths of the audio clips in samples."""
_TABLE = Path(str(resources.files("layerzoo_hf").joinpath("padding.toml")))
_LIMITS = WorkerLimits(seconds=300, memory_bytes=6 << 30)


def main() -> None:
    requested = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="certify-") as cache:
        os.environ |= {"LAYERZOO_CACHE": cache, "OMP_NUM_THREADS": "1"}  # for the processes
        errors = {} if not requested else dict(padding_errors())
        types = requested or [name for name in architectures() if "/" not in name]  # names with a slash are towers
        for name, result in results(types, measure, _LIMITS, processes=os.cpu_count() or 1):
            errors.pop(name, None)
            if "error" in result:
                errors[name] = result["error"]
            if "other_modality" not in result:
                sys.stderr.write(f"{name} {result}\n")
            _TABLE.write_text(_toml(errors), encoding="utf-8")


def _toml(errors: Mapping[str, float]) -> str:
    head = (
        f"# Written by `python -m tools.certify.padding` with transformers {version('transformers')} and torch "
        f"{version('torch')}: edits belong there.\n"
        "# The effect of padding, by model type: the difference between the features of a sample in a batch, padded\n"
        "# on the right under an attention mask, and those of the sample alone, relative to their length. It is the\n"
        "# largest over the hidden states of a small network with random weights. Missing types were not measured.\n"
    )
    return head + "".join(f"{json.dumps(name)} = {error:.1e}\n" for name, error in sorted(errors.items()))


def measure(name: str) -> dict[str, Any]:
    """Return the error of a model type; for a type without text or raw audio input, its modality."""
    torch.set_num_threads(1)
    config = AutoConfig.for_model(name)
    modality = modality_of(config)
    if modality != "text" and not (modality == "audio" and frame_and_hop(config)):
        return {"other_modality": str(modality)}
    failure: Exception | None = None
    for fields in _small_configurations(name):
        try:
            return {"error": padding_error(*_built(name, fields))}
        except Exception as raised:  # noqa: BLE001 - sizes that do not fit together raise many errors
            failure = raised
    return {"failed": f"{type(failure).__name__}: {str(failure)[:200]}"}


def padding_error(network: nn.Module, samples: Sequence[Tensor]) -> float:
    """Measure the difference between the outputs for a padded batch and for each sample alone.

    network: a network of transformers.
    samples: token ids, (token,) each, or audio, (sample,) each.
    Returns: the largest distance between the valid positions of a hidden state, or between pooled vectors, relative to
    the length of those of the sample alone; infinite if they cannot be compared.
    """
    batched = _states(network, samples)
    errors = [
        _distance(state[index], state_alone[0])
        for index, sample in enumerate(samples)
        for state, state_alone in zip(batched, _states(network, [sample]), strict=True)
    ]
    return max(errors)


def _built(name: str, fields: Mapping[str, Any]) -> tuple[nn.Module, list[Tensor]]:
    """Return a small network with disturbed weights, and samples for it: random tokens, or noise."""
    config = AutoConfig.for_model(name, **fields)
    modality = modality_of(config) or "text"
    args = FrozenMap({"model_type": name, "config": fields})
    network = layerzoo.build(ModelSpec(id=f"small/{name}", modality=modality, builder="transformers", args=args))
    disturb(network)
    if modality == "audio":
        return network, [torch.randn(samples) for samples in SAMPLES]
    max_tokens = describe_text(config, Files())["max_tokens"]
    lengths = sorted({min(length, max_tokens) for length in LENGTHS})
    blank = layerzoo.Batch({"input_ids": torch.zeros(len(lengths), lengths[-1], dtype=torch.long)})
    ids = sample_like(blank, config).inputs["input_ids"]
    return network, [row[:length] for row, length in zip(ids, lengths, strict=True)]


def _small_configurations(name: str) -> Iterator[dict[str, Any]]:
    rows = tomllib.loads(Path(__file__).with_name("transformers.toml").read_text(encoding="utf-8")).get(name, {})
    for width in [rows["width"]] if "width" in rows else (16, 8, 4):
        yield small(AutoConfig.for_model(name).to_dict(), Shrink(width=width, rows=rows.get("config", {})))


def _states(network: nn.Module, samples: Sequence[Tensor]) -> list[Tensor]:
    """Return every hidden state and pooled vector for samples that are padded on the right under an attention mask.

    The states of several streams per text, (stream, text, token, channel), are excluded; the last state contains them.
    """
    values = pad_sequence(list(samples), batch_first=True)
    mask = pad_sequence([torch.ones(len(sample), dtype=torch.long) for sample in samples], batch_first=True)
    inputs = {"input_values" if values.is_floating_point() else "input_ids": values, "attention_mask": mask}
    if not values.is_floating_point():
        inputs |= _token_features(network, values, mask)
    with torch.no_grad():
        output = network(**inputs, output_hidden_states=True)
    states = [output.get("last_hidden_state"), output.get("pooler_output"), *(output.get("hidden_states") or ())]
    return [state for state in states if isinstance(state, Tensor) and state.ndim <= 3]


_TOKEN_FEATURES = {
    "token_type_ids": "type_vocab_size",
    "input_shape_ids": "shape_vocab_size",
    "input_pronunciation_ids": "pronunciation_vocab_size",
}
"""Inputs of a network for each token in addition to its id, and the configuration field with their number of values."""


def _token_features(network: nn.Module, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return the further inputs of a network for each token.

    Their values follow from the token and its position, with a different value for padding.
    """
    accepted, config, features = arguments(network), network.config, {}
    for name, field in _TOKEN_FEATURES.items():
        values = getattr(config, field, 0)
        count = values if isinstance(values, int) and values > 0 else 2
        if name in accepted and not hasattr(config, f"{field}s"):  # TAPAS has seven types for each token
            features[name] = torch.where(mask == 1, (ids + torch.arange(ids.shape[1])) % count, count - 1)
    return features


def _distance(batched: Tensor, alone: Tensor) -> float:
    """Return the relative difference between a state in a batch, possibly padded on the right, and the state alone.

    Both are (position, channel) or (channel,).
    """
    if batched.ndim == alone.ndim == 2 and len(batched) > len(alone):
        batched = batched[: len(alone)]
    if batched.shape != alone.shape:
        return math.inf
    distance = float((batched - alone).norm() / alone.norm())
    return distance if math.isfinite(distance) else math.inf


if __name__ == "__main__":
    main()
