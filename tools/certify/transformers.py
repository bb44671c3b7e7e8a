"""transformers: cut every base model type, as a small network with random weights."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tools.certify.exact import Whole, checkpointed, differing, disturb, hooked, noise_like
from tools.certify.folding import folded
from tools.certify.shrink import LAYERS, Shrink, small
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import layerzoo
from layerzoo.errors import TraceError
from layerzoo.runtime.backbone import memory_format, to_memory_format
from layerzoo.runtime.loading import trace_layers
from layerzoo.spec import FrozenMap, ImagePreprocess, Layer, Modality, ModelSpec, VideoPreprocess
from layerzoo_hf.configuration import image_size_of, sub_config, without_cache
from layerzoo_hf.embedding import METHODS
from layerzoo_hf.embedding import NAME as EMBEDDING
from layerzoo_hf.parts import backbone_path, base_class, modality_of, network_class

_DEPENDS_ON = ("layerzoo", "layerzoo-hf", "transformers", "torch")
_SIDE_PX = 128
"""Height and width of images for networks that accept any size."""
_SEED = 0


MAX_PARAMS = 60_000_000
"""No small network is larger."""


def versions() -> dict[str, str]:
    """Return the versions of all distributions that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Return every type with a base network in transformers, and `TYPE/MODALITY` for the other towers."""
    towers = [f"{name}/{other}" for name, row in _rows().items() for other in row.get("towers", ())]
    return [*MODEL_MAPPING_NAMES, *towers]


def known(name: str) -> dict[str, Any]:
    """Return nothing: a type has no facts without running it."""
    return {}


@dataclass(frozen=True, slots=True)
class Effort:
    """The extent of the checks of a type.

    layers: the number of blocks of its network.
    alone: whether layers are also cut alone, in addition to all layers in one pass.
    """

    layers: int
    alone: bool


_FULL = Effort(layers=LAYERS, alone=True)


def certify(name: str, effort: Effort = _FULL) -> dict[str, Any]:
    """Run a small network of a model type, or of one of its towers, and return the results."""
    torch.set_num_threads(1)
    model_type, _, tower = name.partition("/")
    row = _rows().get(model_type, {})
    results: dict[str, Any] = {}
    try:
        network_type = base_class(CONFIG_MAPPING[model_type])
        results |= {"class": network_type.__name__, "input": str(network_type.main_input_name)}
        if "excluded" in row:
            return {**results, "excluded": row["excluded"]}
        modality: Any = tower or modality_of(AutoConfig.for_model(model_type))
        if modality is None:
            return {**results, "unsupported_input": results["input"]}
        results["modality"] = modality
        return {**results, **_first_that_runs(model_type, modality, row, effort)}
    except Exception as error:  # noqa: BLE001 - any error of a network is its result
        reason = _reason(error)
        explanation = _explanation(reason)
        return {**results, "failed": reason} if explanation is None else {**results, "excluded": explanation}


def _reason(error: Exception) -> str:
    """Return an error in one line. A failed trace has several errors; the last is that of a real run."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, ImportError):
        lines = [" ".join(lines)]
    line = lines[-1] if isinstance(error, TraceError) else lines[0]
    return f"{type(error).__name__}: {line.removeprefix('real: ')}"[:_LONGEST]


_LONGEST = 300


def _explanation(reason: str) -> str | None:
    """Return the known explanation of an error, or None."""
    matches = ((re.search(pattern, reason), explanation) for pattern, explanation in _rows()["reasons"].items())
    return next((match.expand(explanation) for match, explanation in matches if match), None)


def _first_that_runs(name: str, modality: Modality, row: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    """Try larger and larger networks until one runs. Raises: the error of the largest."""
    failure: Exception | None = None
    widths: dict[str, int] = {}
    tried: list[dict[str, Any]] = []
    for shrink in _shrinks(row, effort.layers):
        fields = small(AutoConfig.for_model(name).to_dict(), shrink)
        if fields in tried:
            continue
        tried.append(fields)
        try:
            return _certified(_candidate(name, modality, fields, row), effort)
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - sizes that do not fit together raise many errors
            failure = error
            if widths.setdefault(_reason(error), shrink.width) != shrink.width:
                break  # the error does not depend on the width
    assert failure is not None
    raise failure


def small_network(name: str, *, layers: int) -> nn.Module:
    """Build the whole base network of a type in a small configuration. Raises: the error of the library."""
    row, failure = _rows().get(name, {}), None
    for shrink in _shrinks(row, layers):
        try:
            config = AutoConfig.for_model(name, **small(AutoConfig.for_model(name).to_dict(), shrink))
            network: nn.Module = AutoModel.from_config(config).float().eval()
        except Exception as error:  # noqa: BLE001 - sizes that do not fit together raise many errors
            failure = error
        else:
            return network
    assert failure is not None
    raise failure


@dataclass(frozen=True, slots=True)
class Candidate:
    """A small network to be run."""

    spec: ModelSpec
    network: nn.Module
    """The whole base network, with noise added to its weights."""


def _certified(candidate: Candidate, effort: Effort) -> dict[str, Any]:
    network, spec = candidate.network, candidate.spec
    part = spec.args.get("part") or backbone_path(network, spec.modality)
    backbone = network.get_submodule(part)
    results: dict[str, Any] = {"part": part, "params": sum(tensor.numel() for tensor in backbone.parameters())}
    with checkpointed(spec, network) as spec:
        layers = trace_layers(spec)
        names = [layer.name for layer in layers]
        results |= {"names": folded(names), "layers": len(names)}
        results["unknown_axes"] = [layer.name for layer in layers if layer.axes is None]
        results["addresses"] = _addresses(layers)
        of_backbone = [name for name in names if name != EMBEDDING]
        results |= _run(spec, backbone, network.config, of_backbone, effort) if of_backbone else {}
        if EMBEDDING in names and (error := _embedding_error(spec, network)) is not None:
            results["differing"] = {**results.get("differing", {}), EMBEDDING: error}
        return results


def _embedding_error(spec: ModelSpec, network: Any) -> str | None:
    """Return the difference between the layer `embedding` and the library's own method; None if they are equal."""
    loaded = layerzoo.load(spec, layer=EMBEDDING, pool="none")
    example = loaded.preprocess.example(2)
    assert example is not None
    batch = sample_like(example, network.config)
    with torch.no_grad():
        expected = batch.run(getattr(network.eval(), METHODS[spec.modality])).pooler_output
    embedding = loaded.activations(batch)[EMBEDDING]
    if torch.equal(embedding, expected):
        return None
    error = float((embedding - expected).norm() / expected.norm())
    return None if error <= _EMBEDDING_TOLERANCE else f"relative difference {error:.1e}"


_EMBEDDING_TOLERANCE = 1e-6
"""Measured over all types: 1.5e-7 at most, and 0 for most."""


def _addresses(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the address of the first of all layers whose names differ only in numbers."""
    first = {re.sub(r"\d+", "*", layer.name): layer for layer in reversed(layers)}
    return {layer.name: _described(layer) for layer in reversed(first.values())}


def _described(layer: Layer) -> str:
    """Return the address of a layer, its axes with their sizes, and its prefix tokens."""
    sizes = iter(layer.shape or ())
    axes = [axis if axis == "batch" else f"{axis}:{next(sizes, '?')}" for axis in layer.axes or ()]
    prefix = f" prefix:{layer.prefix_tokens}" if layer.prefix_tokens else ""
    return f"{layer.address} {' '.join(axes) or '?'}{prefix}"


def _run(spec: ModelSpec, network: nn.Module, config: Any, names: Sequence[str], effort: Effort) -> dict[str, Any]:
    """Compare cuts with the whole network, and the library's own hidden states with its layers."""
    loaded = layerzoo.load(spec, layer=list(names), pool="none")
    example = loaded.preprocess.example(2)
    assert example is not None
    batch = sample_like(example, config).to("cpu", memory_format(loaded.preprocess))
    network = to_memory_format(network.eval(), memory_format(loaded.preprocess))
    whole = Whole(spec, loaded, network, batch, hooked(network, loaded.layers, batch))
    passes = list(whole.passes()) if effort.alone else [whole.compare(loaded)]
    differences = differing(passes)
    return {
        "cuts": {run.layers[0]: round(run.share_read, 4) for run in passes[1:]},
        "differing": differences,
        "flaws": whole.flaws(),
        "repeatable": not differences or whole.is_repeatable(),
        "hidden_states": hidden_states(network, batch, whole.by_layer()),
    }


def hidden_states(network: nn.Module, batch: layerzoo.Batch, activations: Mapping[Layer, Tensor]) -> dict[str, Any]:
    """Match each of the library's own hidden states to the layer that equals it bit for bit.

    activations: those of the network at its layers, on this batch.
    Returns: ``{"layers": […]}``, each the name of a layer or None; ``{"none": reason}`` if the network returns none.
    """
    try:
        with torch.no_grad():
            output = (
                layerzoo.Batch({**batch.inputs, **_WITH_STATES}).run(network)
                if len(batch.inputs) > 1
                else network(next(iter(batch.inputs.values())), **_WITH_STATES)
            )
    except Exception as error:  # noqa: BLE001 - the failure is the result
        return {"none": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
    states = getattr(output, "hidden_states", None)
    if not isinstance(states, tuple | list):
        return {"none": "none returned"}
    ours = {layer.name: _batch_first(layer, activation) for layer, activation in activations.items()}
    in_order = sorted(ours, key=lambda name: (not name.startswith(("block", "stage")), name.count(".")))
    return {
        "layers": [
            next((name for name in in_order if isinstance(state, Tensor) and torch.equal(ours[name], state)), None)
            for state in states
        ]
    }


def _batch_first(layer: Layer, activation: Tensor) -> Tensor:
    return activation.movedim(layer.axes.index("batch"), 0) if layer.axes and "batch" in layer.axes else activation


_WITH_STATES: dict[str, Any] = {"output_hidden_states": True, "return_dict": True}


def sample_like(batch: layerzoo.Batch, config: Any) -> layerzoo.Batch:
    """Return a batch of the same shapes: noise for floats, random tokens for token ids."""
    generator = torch.Generator().manual_seed(_SEED)
    noise = noise_like(replace(batch, inputs={name: tensor.float() for name, tensor in batch.inputs.items()}))
    inputs = dict(noise.inputs)
    for name, tensor in batch.inputs.items():
        if name == "input_ids":
            tokens = torch.tensor(_normal_tokens(config))
            inputs[name] = tokens[torch.randint(len(tokens), tensor.shape, generator=generator)]
        elif not tensor.is_floating_point():
            inputs[name] = tensor
    return replace(batch, inputs=inputs)


def _normal_tokens(whole: Any) -> list[int]:
    """Return the token ids that are not special."""
    config = sub_config(whole, "text")
    special = set(_special(config.to_dict())) | set(_special(whole.to_dict()))
    return [token for token in range(3, getattr(config, "vocab_size", 256)) if token not in special]


def _special(config: Mapping[str, Any]) -> Iterator[int]:
    for name, value in config.items():
        if "token" in name:
            yield from (
                [value]
                if isinstance(value, int)
                else [token for token in value if isinstance(token, int)]
                if isinstance(value, list)
                else []
            )


def _shrinks(row: Mapping[str, Any], layers: int) -> Iterator[Shrink]:
    rows = row.get("config", {})
    for width in [row["width"]] if "width" in row else (16, 8, 4):
        yield Shrink(width, layers, rows=rows)
        yield Shrink(width, layers, side_px=None, rows=rows)


def _candidate(name: str, modality: Modality, fields: Mapping[str, Any], row: Mapping[str, Any]) -> Candidate:
    """Build a small network. fields: those of the small configuration."""
    config = without_cache(AutoConfig.for_model(name, **fields))
    torch.manual_seed(_SEED)
    config.architectures = [network_class(config).__name__]
    network = AutoModel.from_config(config, dtype=torch.float32).eval()
    args = {"model_type": name, "config": fields} | ({"part": row["part"]} if "part" in row else {})
    spec = ModelSpec(id=f"small/{name}", modality=modality, builder="transformers", args=FrozenMap(args))
    spec = replace(spec, preprocess=_preprocess(modality, config, row))
    disturb(network)
    return Candidate(spec, network)


def _preprocess(modality: str, config: Any, row: Mapping[str, Any]) -> ImagePreprocess | VideoPreprocess | None:
    """Return the preprocessing of images at the size of the small network. The plugin describes text and audio."""
    if modality not in ("vision", "video"):
        return None
    size = image_size_of(config, modality) or (_SIDE_PX, _SIDE_PX)
    image = ImagePreprocess(size_px=size, resize="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    if modality == "vision":
        return image
    part = sub_config(config, "video")
    frames = getattr(part, "num_frames", None) or getattr(part, "frames_per_clip", None) or row.get("frames", 4)
    return VideoPreprocess(frames=frames, joint=True, image=image)


@cache
def _rows() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
