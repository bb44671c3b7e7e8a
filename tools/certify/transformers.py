"""transformers: the exact cut of every base model type, as a small network with random weights."""

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
from tools.certify.exact import Whole, checkpointed, disturb, hooked, noise_like
from tools.certify.folding import folded
from tools.certify.shrink import LAYERS, Shrink, small
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import layerzoo
from layerzoo.errors import TraceError
from layerzoo.runtime.backbone import lay_out, memory_format
from layerzoo.runtime.load import trace_layers
from layerzoo.spec import FrozenMap, ImagePreprocess, Layer, Modality, ModelSpec, VideoPreprocess
from layerzoo_transformers.configuration import picture_size, sub_config, without_cache
from layerzoo_transformers.embedding import METHODS
from layerzoo_transformers.embedding import NAME as EMBEDDING
from layerzoo_transformers.parts import backbone_path, base_class, modality_of, network_class

_DEPENDS_ON = ("layerzoo", "layerzoo-transformers", "transformers", "torch")
_SIDE_PX = 128
"""Of the pictures for networks that take any size."""
_SEED = 0


MAX_PARAMS = 60_000_000
"""No small network is larger."""


def versions() -> dict[str, str]:
    """Of all that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Every type that transformers has a base network for; `TYPE/MODALITY` for the other towers of dual encoders."""
    towers = [f"{name}/{other}" for name, row in _rows().items() for other in row.get("towers", ())]
    return [*MODEL_MAPPING_NAMES, *towers]


def known(name: str) -> dict[str, Any]:
    """Nothing is told of a type without running it."""
    return {}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for a type.

    layers: how many blocks its network has.
    alone: whether layers are cut alone too, beside all of them in one pass.
    """

    layers: int
    alone: bool


_FULL = Effort(layers=LAYERS, alone=True)


def certify(name: str, effort: Effort = _FULL) -> dict[str, Any]:
    """Everything that is found out about a model type, or one tower of it, by running a small network of it."""
    torch.set_num_threads(1)
    model_type, _, tower = name.partition("/")
    row = _rows().get(model_type, {})
    found: dict[str, Any] = {}
    try:
        kind = base_class(CONFIG_MAPPING[model_type])
        found |= {"class": kind.__name__, "input": str(kind.main_input_name)}
        if "excluded" in row:
            return {**found, "excluded": row["excluded"]}
        modality: Any = tower or modality_of(AutoConfig.for_model(model_type))
        if modality is None:
            return {**found, "outside": found["input"]}
        found["modality"] = modality
        return {**found, **_first_that_runs(model_type, modality, row, effort)}
    except Exception as error:  # noqa: BLE001 - whatever a network raises is what came of it
        reason = _reason(error)
        told = _meaning(reason)
        return {**found, "failed": reason} if told is None else {**found, "excluded": told}


def _reason(error: Exception) -> str:
    """What went wrong, in a line: of what was tried on several grounds the last, on which everything is real."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, ImportError):
        lines = [" ".join(lines)]
    told = lines[-1] if isinstance(error, TraceError) else lines[0]
    return f"{type(error).__name__}: {told.removeprefix('real: ')}"[:_LONGEST]


_LONGEST = 300


def _meaning(reason: str) -> str | None:
    """What an error is known to mean."""
    found = ((re.search(pattern, reason), why) for pattern, why in _rows()["reasons"].items())
    return next((match.expand(why) for match, why in found if match), None)


def _first_that_runs(name: str, modality: Modality, row: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    """What is found out with the first of ever larger networks that runs. Raises: what the largest fails with."""
    failure: Exception | None = None
    widths: dict[str, int] = {}
    tried: list[dict[str, Any]] = []
    for shrink in _shrinks(row, effort.layers):
        given = small(AutoConfig.for_model(name).to_dict(), shrink)
        if given in tried:
            continue
        tried.append(given)
        try:
            return _certified(_candidate(name, modality, given, row), effort)
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever does not fit together shows in its own way
            failure = error
            if widths.setdefault(_reason(error), shrink.width) != shrink.width:
                break  # it is not for its width
    assert failure is not None
    raise failure


def small_network(name: str, *, layers: int) -> nn.Module:
    """Build the whole base network of a type in a small configuration. Raises: what the library raises."""
    row, failure = _rows().get(name, {}), None
    for shrink in _shrinks(row, layers):
        try:
            config = AutoConfig.for_model(name, **small(AutoConfig.for_model(name).to_dict(), shrink))
            network: nn.Module = AutoModel.from_config(config).float().eval()
        except Exception as error:  # noqa: BLE001 - sizes that do not fit together show in many ways
            failure = error
        else:
            return network
    assert failure is not None
    raise failure


@dataclass(frozen=True, slots=True)
class Candidate:
    """A small network, which may run."""

    spec: ModelSpec
    network: nn.Module
    """The whole base network, disturbed."""


def _certified(candidate: Candidate, effort: Effort) -> dict[str, Any]:
    network, spec = candidate.network, candidate.spec
    part = spec.args.get("part") or backbone_path(network, spec.modality)
    backbone = network.get_submodule(part)
    found: dict[str, Any] = {"part": part, "params": sum(each.numel() for each in backbone.parameters())}
    with checkpointed(spec, network) as spec:
        layers = trace_layers(spec)
        names = [layer.name for layer in layers]
        found |= {"names": folded(names), "layers": len(names)}
        found["unknown_axes"] = [layer.name for layer in layers if layer.axes is None]
        found["places"] = _places(layers)
        own = [name for name in names if name != EMBEDDING]
        found |= _run(spec, backbone, network.config, own, effort) if own else {}
        if EMBEDDING in names and (error := _embedding_error(spec, network)) is not None:
            found["differing"] = {**found.get("differing", {}), EMBEDDING: error}
        return found


def _embedding_error(spec: ModelSpec, network: Any) -> str | None:
    """How far the layer `embedding` is from what the library's own method returns; None where the two are equal."""
    loaded = layerzoo.load(spec, layer=EMBEDDING, pool="none")
    example = loaded.preprocess.example(2)
    assert example is not None
    batch = sample_like(example, network.config)
    with torch.no_grad():
        expected = batch.run(getattr(network.eval(), METHODS[spec.modality])).pooler_output
    found = loaded.activations(batch)[EMBEDDING]
    if torch.equal(found, expected):
        return None
    error = float((found - expected).norm() / expected.norm())
    return None if error <= _EMBEDDING_TOLERANCE else f"relative difference {error:.1e}"


_EMBEDDING_TOLERANCE = 1e-6
"""Measured over all types: 1.5e-7 at most, and 0 for most."""


def _places(layers: Sequence[Layer]) -> dict[str, str]:
    """Of the layers whose names differ in numbers only the first, and where it is."""
    first = {re.sub(r"\d+", "*", layer.name): layer for layer in reversed(layers)}
    return {layer.name: _told(layer) for layer in reversed(first.values())}


def _told(layer: Layer) -> str:
    """Where a layer is, and its axes with their sizes."""
    sizes = iter(layer.shape or ())
    axes = [axis if axis == "batch" else f"{axis}:{next(sizes, '?')}" for axis in layer.axes or ()]
    prefix = f" {layer.prefix_tokens} in front" if layer.prefix_tokens else ""
    return f"{layer.address} {' '.join(axes) or '?'}{prefix}"


def _run(spec: ModelSpec, network: nn.Module, config: Any, names: Sequence[str], effort: Effort) -> dict[str, Any]:
    """Cuts beside the whole network, and the library's own hidden states beside its layers."""
    loaded = layerzoo.load(spec, layer=list(names), pool="none")
    example = loaded.preprocess.example(2)
    assert example is not None
    batch = sample_like(example, config).to("cpu", memory_format(loaded.preprocess))
    network = lay_out(network.eval(), memory_format(loaded.preprocess))
    whole = Whole(spec, loaded, network, batch, hooked(network, loaded.layers, batch))
    passes = list(whole.passes()) if effort.alone else [whole.beside(loaded)]
    differing = {name: told for each in passes for name, told in each.differing.items()}
    return {
        "cuts": {each.layers[0]: round(each.share_read, 4) for each in passes[1:]},
        "differing": differing,
        "flaws": whole.flaws(),
        "repeatable": not differing or whole.is_repeatable(),
        "hidden_states": hidden_states(network, batch, whole.by_layer()),
    }


def hidden_states(network: nn.Module, batch: layerzoo.Batch, given: Mapping[Layer, Tensor]) -> dict[str, Any]:
    """Which layer each of the library's own hidden states is equal to, to the bit, in their order.

    Returns: ``{"places": […]}``, each the name of a layer or None; ``{"none": why}`` where the network gives none.
    """
    try:
        with torch.no_grad():
            output = (
                layerzoo.Batch({**batch.inputs, **_WITH_STATES}).run(network)
                if len(batch.inputs) > 1
                else network(next(iter(batch.inputs.values())), **_WITH_STATES)
            )
    except Exception as error:  # noqa: BLE001 - that it fails is the answer
        return {"none": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
    states = getattr(output, "hidden_states", None)
    if not isinstance(states, tuple | list):
        return {"none": "the network gives none"}
    ours = {layer.name: _batch_first(layer, found) for layer, found in given.items()}
    in_order = sorted(ours, key=lambda name: (not name.startswith(("block", "stage")), name.count(".")))
    return {
        "places": [
            next((name for name in in_order if isinstance(state, Tensor) and torch.equal(ours[name], state)), None)
            for state in states
        ]
    }


def _batch_first(layer: Layer, activation: Tensor) -> Tensor:
    return activation.movedim(layer.axes.index("batch"), 0) if layer.axes and "batch" in layer.axes else activation


_WITH_STATES: dict[str, Any] = {"output_hidden_states": True, "return_dict": True}


def sample_like(batch: layerzoo.Batch, config: Any) -> layerzoo.Batch:
    """A batch of the same shapes: noise for numbers, any words for tokens."""
    generator = torch.Generator().manual_seed(_SEED)
    noise = noise_like(replace(batch, inputs={name: each.float() for name, each in batch.inputs.items()}))
    inputs = dict(noise.inputs)
    for name, tensor in batch.inputs.items():
        if name == "input_ids":
            words = torch.tensor(_words(config))
            inputs[name] = words[torch.randint(len(words), tensor.shape, generator=generator)]
        elif not tensor.is_floating_point():
            inputs[name] = tensor
    return replace(batch, inputs=inputs)


def _words(whole: Any) -> list[int]:
    """The tokens of a vocabulary that mean nothing special."""
    config = sub_config(whole, "text")
    special = set(_special(config.to_dict())) | set(_special(whole.to_dict()))
    return [token for token in range(3, getattr(config, "vocab_size", 256)) if token not in special]


def _special(config: Mapping[str, Any]) -> Iterator[int]:
    for name, value in config.items():
        if "token" in name:
            yield from (
                [value]
                if isinstance(value, int)
                else [each for each in value if isinstance(each, int)]
                if isinstance(value, list)
                else []
            )


def _shrinks(row: Mapping[str, Any], layers: int) -> Iterator[Shrink]:
    rows = row.get("config", {})
    for width in [row["width"]] if "width" in row else (16, 8, 4):
        yield Shrink(width, layers, rows=rows)
        yield Shrink(width, layers, side_px=None, rows=rows)


def _candidate(name: str, modality: Modality, given: Mapping[str, Any], row: Mapping[str, Any]) -> Candidate:
    """given: the fields of the small configuration."""
    config = without_cache(AutoConfig.for_model(name, **given))
    torch.manual_seed(_SEED)
    config.architectures = [network_class(config).__name__]
    network = AutoModel.from_config(config, dtype=torch.float32).eval()
    args = {"model_type": name, "config": given} | ({"part": row["part"]} if "part" in row else {})
    spec = ModelSpec(id=f"small/{name}", modality=modality, builder="transformers", args=FrozenMap(args))
    spec = replace(spec, preprocess=_preprocess(modality, config, row))
    disturb(network)
    return Candidate(spec, network)


def _preprocess(modality: str, config: Any, row: Mapping[str, Any]) -> ImagePreprocess | VideoPreprocess | None:
    """Pictures as large as the small network takes them. Texts and sounds are prepared as the plugin knows."""
    if modality not in ("vision", "video"):
        return None
    size = picture_size(config, modality) or (_SIDE_PX, _SIDE_PX)
    image = ImagePreprocess(size_px=size, resize="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    if modality == "vision":
        return image
    part = sub_config(config, "video")
    frames = getattr(part, "num_frames", None) or getattr(part, "frames_per_clip", None) or row.get("frames", 4)
    return VideoPreprocess(frames=frames, joint=True, image=image)


@cache
def _rows() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
