"""Repositories of sentence-transformers: the modules that run after the network, as listed in modules.json.

Equal to sentence_transformers 6.2 without needing it. Each module here names the class whose computation it repeats;
their tests compare the two over saved models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from layerzoo.errors import RepositoryError
from layerzoo.weights import Files
from layerzoo_hf.embedding import NAME
from layerzoo_hf.modules import (
    HUB,
    MODULES,
    NETWORKS,
    SETTINGS,
    ModuleEntry,
    module_rows,
    network_files,
    read_file,
    transformer_settings,
)
from layerzoo_hf.references import check_files

_TOKENS, _SENTENCE, _ALL_LAYERS = "token_embeddings", "sentence_embedding", "all_layer_embeddings"
_INPUTS = {"text": "text", "image": "vision", "audio": "audio", "video": "video"}
"""Our modalities, by sentence-transformers' words for them."""
_USUAL_INPUTS = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
_CLIP_INPUTS = {
    "text": {"method": "get_text_features", "method_output_name": "pooler_output"},
    "image": {"method": "get_image_features", "method_output_name": "pooler_output"},
}
"""Those of the module CLIPModel of older releases."""
_USUAL_PROMPTS = {"query": "", "document": ""}
"""The prompts that every model has, unless its settings say otherwise."""
_LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Poolings by the switches of older releases, in the order in which several are concatenated."""

LIBRARY = "library"
"""The path, within the module ``embedding``, of what computes a tower's embedding as the library does."""
_ENCODERS = frozenset(
    [
        "blenderbot",
        "blenderbot-small",
        "longt5",
        "m2m_100",
        "marian",
        "moonshine",
        "mt5",
        "pegasus",
        "pegasus_x",
        "prophetnet",
        "switch_transformers",
        "t5",
        "t5gemma",
        "t5gemma2",
        "t5gemma2_text",
        "udop",
        "umt5",
        "whisper",
    ]
)
"""Types of encoder-decoders of which only the encoder is run: ``_ENCODER_ONLY_MODELS`` of
sentence_transformers.base.modules.transformer. Of others the output of the decoder is pooled."""
_USUAL_CALL: Mapping[str, Sequence[Any]] = {
    "truncation": (True, "longest_first", "only_first"),
    "add_special_tokens": (True, False),
    "padding": (True, "longest"),
    "return_tensors": ("pt",),
}
"""Arguments of a call of the processor that change nothing for a text alone, with their values."""
_HARMLESS = {
    "add_pooling_layer",
    "attn_implementation",
    "dtype",
    "torch_dtype",
    "device_map",
    "low_cpu_mem_usage",
    "use_cache",
    "use_safetensors",
}
"""Arguments with which the network is loaded that change no number but for its rounding: layerzoo has its own. Without
its pooling layer a network has the same last hidden state."""

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """The description of a model in the files of a sentence-transformers repository."""

    model: str
    """Its id, for messages."""
    folder: str
    """The folder of its network; empty for the repository's own."""
    is_static: bool
    """Whether its network is a StaticEmbedding, which no configuration describes."""
    settings: Settings
    """Of the network's own module: the length of a text, lower case, which of its outputs counts."""
    modules: tuple[tuple[str, str, Settings], ...]
    """Folder, class and settings of each module after the network, in their order."""
    prompts: Mapping[str, str]
    default_prompt: str | None
    dimensions: int | None
    """How many numbers of an embedding are kept, the first ones; None: all."""

    @property
    def modalities(self) -> list[str]:
        """The modalities that the model takes."""
        inputs = self.settings.get("modality_config", _USUAL_INPUTS)
        return [_INPUTS[name] for name in inputs if name in _INPUTS]

    @property
    def max_tokens(self) -> int | None:
        """The longest text in tokens; None where the tokenizer and the network define it."""
        limit = self.tokenizer_settings.get("model_max_length", self.settings.get("max_seq_length"))
        limit = _call_settings(self.settings).get("max_length", limit)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def tokenizer_settings(self) -> dict[str, Any]:
        """The arguments with which the tokenizer is loaded."""
        options = self.settings.get("processor_kwargs") or self.settings.get("tokenizer_args") or {}
        return {name: value for name, value in options.items() if name != "trust_remote_code"}

    @property
    def dtype(self) -> str | None:
        """The dtype that the library loads the network in; None for that of the checkpoint."""
        for group in ("model_kwargs", "model_args", "config_kwargs", "config_args"):
            options = self.settings.get(group) or {}
            if dtype_name := options.get("dtype") or options.get("torch_dtype"):
                return None if dtype_name == "auto" else str(dtype_name).removeprefix("torch.")
        return None

    @property
    def adds_special_tokens(self) -> bool:
        """True if the tokenizer puts special tokens around a text."""
        return bool(_call_settings(self.settings).get("add_special_tokens", True))

    @property
    def lower_case(self) -> bool:
        return bool(self.settings.get("do_lower_case", False))

    @property
    def pools_prompt(self) -> bool:
        """True if the tokens of a prompt are pooled with the others."""
        return all(settings.get("include_prompt", True) for _, kind, settings in self.modules if kind == "Pooling")

    def tensor_names(self) -> dict[str, str]:
        """Return the prefix of each module's tensors in the network, by their prefix in the checkpoint."""
        return {f"{folder}/": f"{NAME}.{index}." for index, (folder, _, _) in enumerate(self.modules, 1)}

    def pools_decoder(self, config: Any) -> bool:
        """Return whether the library pools the output of the decoder of a network, not that of its encoder.

        config: of the whole network.
        """
        is_pair = not self.is_static and getattr(config, "is_encoder_decoder", False)
        return bool(is_pair) and config.model_type not in _ENCODERS and "text" in self.modalities

    def embedding(self, modality: str, library: nn.Module | None) -> SentenceEmbedding:
        """Return the module that computes the embedding.

        library: the module that computes the embedding of a tower with the library's method; None if there is none.
        """
        steps = [_module(self.model, *module) for module in self.modules]
        if self.is_static:
            return SentenceEmbedding(steps, _SENTENCE, self.dimensions)
        settings = self._input(modality)
        begins_with = self.settings.get("module_output_name", _TOKENS)
        if settings["method"] == "forward":
            return SentenceEmbedding(steps, begins_with, self.dimensions, settings["method_output_name"])
        if library is None:
            raise self._refused(f"calls the network's method {settings['method']}, and it has none for {modality}")
        return SentenceEmbedding(steps, begins_with, self.dimensions, library=library)

    def _input(self, modality: str) -> Mapping[str, Any]:
        """Return the settings of the network for a modality."""
        inputs = self.settings.get("modality_config", _USUAL_INPUTS)
        settings: Mapping[str, Any] | None = {
            _INPUTS.get(name): input_settings for name, input_settings in inputs.items()
        }.get(modality)
        if settings is None or "message" in inputs:
            raise self._refused(f"takes {' and '.join(inputs)}, and not {modality} as it is")
        is_forward = settings.get("method") == "forward" and settings.get("method_output_name") in (
            "last_hidden_state",
            "pooler_output",
        )
        is_library = (
            str(settings.get("method")).startswith("get_") and settings.get("method_output_name") == "pooler_output"
        )
        if not (is_forward or is_library):
            raise self._refused(f"takes {settings.get('method_output_name')} of the network's {settings.get('method')}")
        return settings

    def _refused(self, reason: str) -> RepositoryError:
        return _refused(self.model, f"its Transformer module {reason}, which layerzoo cannot do")


def opened(model: str, files: Files, args: Mapping[str, Any]) -> tuple[Files, SentenceEncoder | None]:
    """Return the files of a model's network, and the modules that run after it; None if there are none, or if `args`
    has ``modules: false``.

    Raises: RepositoryError for invalid files, and for unknown modules, which it names;
        OutsideRepositoryError for files that name something outside of their repository.
    """
    check_files(model, files)
    if MODULES not in files or not read_file(model, files, MODULES):
        return files, None
    rows = module_rows(model, files, args.get("route"))
    own = network_files(files, rows[0].folder)
    check_files(model, own)
    if not args.get("modules", True):
        return replace(own, paths={name: path for name, path in own.paths.items() if name != MODULES}), None
    return own, _sentence_encoder(model, own, rows)


def _sentence_encoder(model: str, files: Files, rows: Sequence[ModuleEntry]) -> SentenceEncoder:
    allowed_kinds = [NETWORKS, *[_MODULES.keys()] * (len(rows) - 1)]
    if unknown := [row.type for row, kinds in zip(rows, allowed_kinds, strict=True) if row.kind not in kinds]:
        raise _refused(model, f"{MODULES} names {', '.join(unknown)}, which layerzoo does not know")
    first = rows[0].kind
    settings: Settings = {} if first == "StaticEmbedding" else transformer_settings(model, files)
    if first == "CLIPModel":
        settings = {"modality_config": _CLIP_INPUTS, "module_output_name": _SENTENCE, **settings}
    if unsupported := _unsupported(settings):
        raise _refused(
            model, f"its Transformer module has the settings {', '.join(unsupported)}, which layerzoo ignores"
        )
    task = settings.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise _refused(model, f"its network is for the task {task}, and not for embeddings")
    encoder_settings = read_file(model, files, SETTINGS) if SETTINGS in files else {}
    prompts = {name: text or "" for name, text in (encoder_settings.get("prompts") or {}).items()}
    default = encoder_settings.get("default_prompt_name")
    if default is not None and default not in _USUAL_PROMPTS | prompts:
        raise RepositoryError(
            f"{model}: its default prompt '{default}' is not one of its prompts ({', '.join(prompts)})"
        )
    encoder = SentenceEncoder(
        model=model,
        folder=rows[0].folder,
        is_static=first == "StaticEmbedding",
        settings=settings,
        modules=tuple((row.folder, row.kind, _settings_of(model, files, row.folder)) for row in rows[1:]),
        prompts=_USUAL_PROMPTS | prompts,
        default_prompt=default,
        dimensions=encoder_settings.get("truncate_dim"),
    )
    with torch.device("meta"):
        for module in encoder.modules:
            _module(model, *module)
    return encoder


def _call_settings(settings: Settings) -> dict[str, Any]:
    """Return the arguments of the tokenizer's call."""
    options = settings.get("processing_kwargs") or {}
    return {**(options.get("common") or {}), **(options.get("text") or {})}


def _unsupported(settings: Settings) -> list[str]:
    """Return the settings of the network's module that would change its output and are not supported here."""
    unsupported = [
        f"processing_kwargs.{name}"
        for name in settings.get("processing_kwargs") or {}
        if name not in ("common", "text")
    ]
    for name, value in _call_settings(settings).items():
        is_length = name == "max_length" and isinstance(value, int) and value > 0
        if not is_length and value not in _USUAL_CALL.get(name, ()):
            unsupported.append(f"processing_kwargs.text.{name}: {value}")
    for group in ("model_kwargs", "model_args"):
        options = settings.get(group) or {}
        unsupported += [f"{group}.{name}: {value}" for name, value in options.items() if name not in HUB | _HARMLESS]
    return unsupported


def _settings_of(model: str, files: Files, folder: str) -> Settings:
    name = f"{folder}/config.json"
    data = read_file(model, files, name) if folder and name in files else {}
    return data if isinstance(data, dict) else {}


def _refused(model: str, reason: str) -> RepositoryError:
    return RepositoryError(
        f"{model}: {reason}, so that its embedding cannot be computed. Next, for the layers of the network alone: "
        "declare a model in a registry.yaml with these `weights` and `args: {modules: false}`"
    )


# ---------------------------------------------------------------- the network's part


class SentenceEmbedding(nn.Module):
    """Runs the modules of a sentence-transformers model on the output of its network.

    Its children are the modules after the network, by their number in modules.json, where the network has 0.
    """

    mask_and_prompt_length: tuple[Tensor | None, Tensor | None] = (None, None)

    def __init__(
        self,
        steps: Sequence[nn.Module],
        begins_with: str,
        dimensions: int | None,
        output_name: str = "last_hidden_state",
        library: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._begins_with, self._dimensions, self._output_name = begins_with, dimensions, output_name
        needs_all = any(step.input_name == _ALL_LAYERS for step in steps)
        self.needs_hidden_states_only = library is None and output_name == "last_hidden_state" and not needs_all
        # A module whose input is missing never runs, and is replaced by a stub, which has no names.
        self._names = [(str(step.input_name), str(step.output_name)) for step in steps]
        for index, step in enumerate(steps, 1):
            self.add_module(str(index), step)
        if library is not None:
            self.add_module(LIBRARY, library)

    def forward(self, output: Any, mask: Tensor | None = None, prompt_length: Tensor | None = None) -> Tensor:
        """(batch, channel) of the network's output.

        mask: (batch, token), 1 for each true token; None where all are.
        prompt_length: (batch, 1) tokens of each row that are not pooled; None: all are.
        """
        library: nn.Module | None = self._modules.get(LIBRARY)
        value: Tensor = getattr(output, self._output_name) if library is None else library(output)
        if value.ndim == 4:
            value = value.flatten(2).transpose(1, 2)
        features = {self._begins_with: value}
        if (layers := getattr(output, "hidden_states", None)) is not None:
            features[_ALL_LAYERS] = torch.stack(tuple(layers))
        if mask is None or value.ndim < 3 or mask.shape[-1] != value.shape[1]:
            mask = torch.ones(value.shape[:2], dtype=torch.int64, device=value.device)
        for index, (source, target) in enumerate(self._names, 1):
            step: Any = self._modules[str(index)]
            if source in features:
                features[target] = step(features[source], mask, prompt_length)
        return features[_SENTENCE][..., : self._dimensions]


class SentencePooling(nn.Module):
    """sentence_transformers.sentence_transformer.modules.Pooling."""

    input_name, output_name = _TOKENS, _SENTENCE

    def __init__(self, modes: Sequence[str], *, include_prompt: bool = True) -> None:
        super().__init__()
        self.modes, self.include_prompt = tuple(modes), include_prompt

    def forward(self, tokens: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        first = mask.to(torch.int32).argmax(1, keepdim=True)
        pooled = mask
        if prompt_length is not None and not self.include_prompt:
            positions = torch.arange(mask.shape[1], device=mask.device)[None]
            is_prompt = (positions < first + prompt_length) & (prompt_length > 0)
            pooled = mask.masked_fill(is_prompt, 0)
        return torch.cat([_POOLINGS[mode](tokens, pooled, first) for mode in self.modes], dim=-1)


def _cls(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    return _at(tokens, mask.to(torch.int32).argmax(1))


def _max(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    return tokens.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)


def _mean(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    return (_sum(tokens, mask) / _count(mask)).to(tokens.dtype)


def _mean_sqrt_len(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    return (_sum(tokens, mask) / _count(mask).sqrt()).to(tokens.dtype)


def _weighted_mean(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    """Weights are the positions from the first true token, from 1."""
    weights = mask * (torch.arange(1, mask.shape[1] + 1, device=mask.device)[None] - first)
    total = (tokens * weights[..., None].to(_accumulated_in(tokens))).sum(1)
    return (total / _count(weights)).to(tokens.dtype)


def _last(tokens: Tensor, mask: Tensor, first: Tensor) -> Tensor:
    """Return the last true token; zeros where none is."""
    positions = torch.arange(mask.shape[1], device=mask.device)[None]
    last = (positions * mask.clamp(max=1)).amax(1)
    return _at(tokens * mask[..., None].to(tokens.dtype), last)


def _sum(tokens: Tensor, weights: Tensor) -> Tensor:
    return (tokens * weights[..., None].to(tokens.dtype)).sum(1, dtype=_accumulated_in(tokens))


def _accumulated_in(tokens: Tensor) -> torch.dtype:
    """Return the dtype in which the library accumulates: float32 for a 16-bit dtype."""
    return torch.float32 if tokens.dtype in (torch.float16, torch.bfloat16) else tokens.dtype


def _count(weights: Tensor) -> Tensor:
    return weights.sum(1, keepdim=True).to(torch.float32).clamp(min=1e-9)


def _at(tokens: Tensor, positions: Tensor) -> Tensor:
    """(batch, channel) of (batch, token, channel), at one position of each row."""
    return tokens.gather(1, positions[:, None, None].expand(-1, 1, tokens.shape[-1])).squeeze(1)


_POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


class Dense(nn.Module):
    """sentence_transformers.base.modules.Dense."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: nn.Module | None = None,
        input_name: str = _SENTENCE,
        output_name: str | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation_function = activation or nn.Tanh()
        self.input_name, self.output_name = input_name, output_name or input_name
        self.use_residual = use_residual
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    def forward(self, value: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        result: Tensor = self.activation_function(self.linear(value))
        if not self.use_residual:
            return result
        return result + (self.residual(value) if "residual" in self._modules else value)


class Normalize(nn.Module):
    """sentence_transformers.base.modules.Normalize."""

    def __init__(self, input_name: str = _SENTENCE, output_name: str | None = None) -> None:
        super().__init__()
        self.input_name, self.output_name = input_name, output_name or input_name

    def forward(self, value: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        return functional.normalize(value, p=2, dim=-1)


class WeightedLayerPooling(nn.Module):
    """sentence_transformers.sentence_transformer.modules.WeightedLayerPooling."""

    input_name, output_name = _ALL_LAYERS, _TOKENS

    def __init__(self, num_hidden_layers: int = 12, layer_start: int = 4) -> None:
        super().__init__()
        self.layer_start = layer_start
        self.layer_weights = nn.Parameter(torch.ones(num_hidden_layers + 1 - layer_start))

    def forward(self, layers: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        """(batch, token, channel) of (layer, batch, token, channel)."""
        pooled_layers = layers[self.layer_start :]
        weights = self.layer_weights[:, None, None, None].expand(pooled_layers.size())
        return (weights * pooled_layers).sum(dim=0) / self.layer_weights.sum()


class LayerNorm(nn.Module):
    """sentence_transformers.sentence_transformer.modules.LayerNorm."""

    input_name = output_name = _SENTENCE

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    def forward(self, value: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        normed: Tensor = self.norm(value)
        return normed


class Dropout(nn.Module):
    """sentence_transformers.sentence_transformer.modules.Dropout."""

    input_name = output_name = _SENTENCE

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout_layer = nn.Dropout(dropout)

    def forward(self, value: Tensor, mask: Tensor, prompt_length: Tensor | None) -> Tensor:
        output: Tensor = self.dropout_layer(value)
        return output


# ---------------------------------------------------------------- from their settings


def _module(model: str, folder: str, kind: str, settings: Settings) -> nn.Module:
    try:
        return _MODULES[kind](model, settings)
    except (KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RepositoryError(f"{model}: {folder}/config.json makes no {kind}: {reason}") from error


def _pooling(model: str, settings: Settings) -> nn.Module:
    mode = settings.get("pooling_mode")
    if mode is None:
        switched = [pooling for name, pooling in _LEGACY_POOLINGS.items() if settings.get(name, False)]
        mode = switched or "mean"
    modes = [mode] if isinstance(mode, str) else list(mode)
    if unknown := [mode for mode in modes if mode not in _POOLINGS]:
        raise _refused(model, f"its Pooling has the mode {', '.join(map(str, unknown))}, which layerzoo does not know")
    return SentencePooling(modes, include_prompt=settings.get("include_prompt", True))


def _dense(model: str, settings: Settings) -> nn.Module:
    return Dense(
        settings["in_features"],
        settings["out_features"],
        settings.get("bias", True),
        _activation(model, settings.get("activation_function")),
        settings.get("module_input_name", _SENTENCE),
        settings.get("module_output_name"),
        settings.get("use_residual", False),
    )


def _activation(model: str, reference: str | None) -> nn.Module:
    """Return the activation of a Dense. The library replaces one that is not part of torch by the default, with a
    warning."""
    if reference is None or not reference.startswith("torch."):
        return nn.Tanh()
    kind = getattr(nn, reference.rpartition(".")[2], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise _refused(model, f"its Dense has the activation {reference}, which is not a module of torch.nn")
    return kind()


def _normalize(model: str, settings: Settings) -> nn.Module:
    return Normalize(settings.get("module_input_name", _SENTENCE), settings.get("module_output_name"))


_MODULES: dict[str, Callable[[str, Settings], nn.Module]] = {
    "Pooling": _pooling,
    "Dense": _dense,
    "Normalize": _normalize,
    "WeightedLayerPooling": lambda model, settings: WeightedLayerPooling(
        settings.get("num_hidden_layers", 12), settings.get("layer_start", 4)
    ),
    "LayerNorm": lambda model, settings: LayerNorm(settings["dimension"]),
    "Dropout": lambda model, settings: Dropout(settings.get("dropout", 0.2)),
}
