"""What filling samples up does to networks: ``python -m tools.certify.padding [TYPE…]`` writes it down for the plugin.

A small network of each type, with random weights that were moved away from their initialisation, is given texts of
random words, or noise as sounds: each alone, and all beside each other, filled up on the right under a mask. How far
the true positions of any hidden state are apart, relative to their length, is the error of the type. Of networks for
sound, those are measured that make frames of raw samples.
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
from layerzoo.jobs.workers import Limits, results
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo.weights import Files
from layerzoo_transformers.families import padding_errors
from layerzoo_transformers.frames import frame_and_hop
from layerzoo_transformers.parts import arguments, modality_of
from layerzoo_transformers.text import describe_text

LENGTHS = (9, 17, 64, 150, 400)
"""Tokens of the texts; what is longer than a network takes is cut to that."""
SAMPLES = (1_500, 5_000, 9_999, 16_000, 40_321)
"""Of the sounds."""
_WRITTEN = Path(str(resources.files("layerzoo_transformers").joinpath("padding.toml")))
_LIMITS = Limits(seconds=300, memory_bytes=6 << 30)


def main() -> None:
    asked = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="certify-") as cache:
        os.environ |= {"LAYERZOO_CACHE": cache, "OMP_NUM_THREADS": "1"}  # for the processes
        errors = {} if not asked else dict(padding_errors())
        types = asked or [name for name in architectures() if "/" not in name]  # those with one are towers of others
        for name, found in results(types, measure, _LIMITS, processes=os.cpu_count() or 1):
            errors.pop(name, None)
            if "error" in found:
                errors[name] = found["error"]
            if "outside" not in found:
                sys.stderr.write(f"{name} {found}\n")
            _WRITTEN.write_text(_toml(errors), encoding="utf-8")


def _toml(errors: Mapping[str, float]) -> str:
    head = (
        f"# Written by `python -m tools.certify.padding` with transformers {version('transformers')} and torch "
        f"{version('torch')}: edits belong there.\n"
        "# How far the features of a text, or a sound, are from those of it alone, relative to their length, where\n"
        "# longer ones stand in its batch and it is filled up on the right under a mask: the largest over the hidden\n"
        "# states of a small network with random weights, by model type. Types that are missing were not measured.\n"
    )
    return head + "".join(f"{json.dumps(name)} = {error:.1e}\n" for name, error in sorted(errors.items()))


def measure(name: str) -> dict[str, Any]:
    """The error of a model type; of one that takes neither text nor raw sound in frames, what it takes."""
    torch.set_num_threads(1)
    config = AutoConfig.for_model(name)
    modality = modality_of(config)
    if modality != "text" and not (modality == "audio" and frame_and_hop(config)):
        return {"outside": str(modality)}
    failure: Exception | None = None
    for given in _small_configurations(name):
        try:
            return {"error": padding_error(*_built(name, given))}
        except Exception as raised:  # noqa: BLE001 - whatever does not fit together shows in its own way
            failure = raised
    return {"failed": f"{type(failure).__name__}: {str(failure)[:200]}"}


def padding_error(network: nn.Module, samples: Sequence[Tensor]) -> float:
    """How far what a network gives for samples of different length is from what it gives for each alone.

    network: of transformers. samples: word numbers, (token,) each; or sounds, (sample,) each.
    Returns: the largest distance between the true positions of a hidden state, or between pooled vectors, relative to
    the length of that of the text alone; infinite where they cannot be compared.
    """
    together = _states(network, samples)
    errors = [
        _distance(state[index], state_alone[0])
        for index, sample in enumerate(samples)
        for state, state_alone in zip(together, _states(network, [sample]), strict=True)
    ]
    return max(errors)


def _built(name: str, given: Mapping[str, Any]) -> tuple[nn.Module, list[Tensor]]:
    """A small network, moved away from its initialisation, and samples for it: random words, or noise."""
    config = AutoConfig.for_model(name, **given)
    modality = modality_of(config) or "text"
    args = FrozenMap({"model_type": name, "config": given})
    network = layerzoo.build(ModelSpec(id=f"small/{name}", modality=modality, builder="transformers", args=args))
    disturb(network)
    if modality == "audio":
        return network, [torch.randn(samples) for samples in SAMPLES]
    most = describe_text(config, Files())["max_tokens"]
    lengths = sorted({min(length, most) for length in LENGTHS})
    blank = layerzoo.Batch({"input_ids": torch.zeros(len(lengths), lengths[-1], dtype=torch.long)})
    words = sample_like(blank, config).inputs["input_ids"]
    return network, [row[:length] for row, length in zip(words, lengths, strict=True)]


def _small_configurations(name: str) -> Iterator[dict[str, Any]]:
    rows = tomllib.loads(Path(__file__).with_name("transformers.toml").read_text(encoding="utf-8")).get(name, {})
    for width in [rows["width"]] if "width" in rows else (16, 8, 4):
        yield small(AutoConfig.for_model(name).to_dict(), Shrink(width=width, rows=rows.get("config", {})))


def _states(network: nn.Module, samples: Sequence[Tensor]) -> list[Tensor]:
    """Every hidden state and pooled vector that a network gives for samples, filled up on the right under a mask; but
    for the states of several streams a text, (stream, text, token, channel), which the last state is made of."""
    given = pad_sequence(list(samples), batch_first=True)
    mask = pad_sequence([torch.ones(len(sample), dtype=torch.long) for sample in samples], batch_first=True)
    named = {"input_values" if given.is_floating_point() else "input_ids": given, "attention_mask": mask}
    if not given.is_floating_point():
        named |= _of_tokens(network, given, mask)
    with torch.no_grad():
        output = network(**named, output_hidden_states=True)
    found = [output.get("last_hidden_state"), output.get("pooler_output"), *(output.get("hidden_states") or ())]
    return [state for state in found if isinstance(state, Tensor) and state.ndim <= 3]


_OF_TOKENS = {
    "token_type_ids": "type_vocab_size",
    "input_shape_ids": "shape_vocab_size",
    "input_pronunciation_ids": "pronunciation_vocab_size",
}
"""What networks take of each token in addition to its id, and the field for the number of its values."""


def _of_tokens(network: nn.Module, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What else a network takes of each token: values that follow from the token and its place, and another one where
    a text is padded."""
    takes, config, made = arguments(network), network.config, {}
    for name, field in _OF_TOKENS.items():
        values = getattr(config, field, 0)
        count = values if isinstance(values, int) and values > 0 else 2
        if name in takes and not hasattr(config, f"{field}s"):  # TAPAS has seven types for each token
            made[name] = torch.where(mask == 1, (ids + torch.arange(ids.shape[1])) % count, count - 1)
    return made


def _distance(found: Tensor, alone: Tensor) -> float:
    """found: in a batch, perhaps filled up on the right; alone: by itself; (position, channel) or (channel,)."""
    if found.ndim == alone.ndim == 2 and len(found) > len(alone):
        found = found[: len(alone)]
    if found.shape != alone.shape:
        return math.inf
    distance = float((found - alone).norm() / alone.norm())
    return distance if math.isfinite(distance) else math.inf


if __name__ == "__main__":
    main()
