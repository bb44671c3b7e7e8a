"""No hook of a plugin opens a connection for a regular model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.repository_files import files_of

import layerzoo
from layerzoo.plugins.loader import PluginHooks, hooks
from layerzoo.registry import registry
from layerzoo.weights import Files, resolve

BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 6}
TIMM = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 160, 160], "num_classes": 1000}}
WORDS = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])

Calls = dict[str, Callable[[PluginHooks], Any]]


def of_hf(folder: Path) -> Calls:
    files = files_of(folder, config__json=BERT, vocab__txt=WORDS, tokenizer_config__json={})
    spec = layerzoo.ModelSpec(id="mine/bert", modality="text", builder="transformers")
    return {
        "layerzoo_build": lambda plugin: plugin.build(spec, files),
        "layerzoo_describe": lambda plugin: plugin.describe(spec, files),
        "layerzoo_dtype": lambda plugin: plugin.dtype(spec, files),
        "layerzoo_preprocess": lambda plugin: plugin.preprocess(spec, files),
        "layerzoo_state_dict": lambda plugin: plugin.state_dict(spec, files, {}),
        "layerzoo_identify": lambda plugin: plugin.identify("hf/acme/bert", files),
    }


def of_timm(folder: Path) -> Calls:
    files = files_of(folder, config__json=TIMM)
    spec = layerzoo.model("timm/test_vit")
    return {
        "layerzoo_build": lambda plugin: plugin.build(spec, Files()),
        "layerzoo_describe": lambda plugin: plugin.describe(spec, Files()),
        "layerzoo_state_dict": lambda plugin: plugin.state_dict(spec, Files(), {}),
        "layerzoo_identify": lambda plugin: plugin.identify("timm/acme/vit", files),
    }


def of_starter(folder: Path) -> Calls:
    spec = layerzoo.model("starter/efficientnet-lite0")
    return {"layerzoo_read_weights": lambda plugin: plugin.read_weights(spec, resolve(spec.weights))}


def of_video(folder: Path) -> Calls:
    spec = layerzoo.model("starter/efficientnet-lite0-video")
    return {"layerzoo_build": lambda plugin: plugin.build(spec, Files())}


def of_torchaudio(folder: Path) -> Calls:
    files = files_of(folder, config__json={})
    spec = layerzoo.model("torchaudio/logmel")
    return {
        "layerzoo_build": lambda plugin: plugin.build(spec, files),
        "layerzoo_describe": lambda plugin: plugin.describe(spec, files),
        "layerzoo_preprocess": lambda plugin: plugin.preprocess(spec, files),
        "layerzoo_read_weights": lambda plugin: plugin.read_weights(spec, files),
        "layerzoo_state_dict": lambda plugin: plugin.state_dict(spec, files, {}),
    }


def of_torchvision(folder: Path) -> Calls:
    files = files_of(folder, config__json={})
    spec = layerzoo.model("torchvision/mobilenet_v3_small")
    return {
        "layerzoo_build": lambda plugin: plugin.build(spec, files),
        "layerzoo_describe": lambda plugin: plugin.describe(spec, files),
        "layerzoo_preprocess": lambda plugin: plugin.preprocess(spec, files),
        "layerzoo_state_dict": lambda plugin: plugin.state_dict(spec, files, {}),
    }


CALLS: dict[str, Callable[[Path], Calls]] = {
    "hf": of_hf,
    "timm": of_timm,
    "starter": of_starter,
    "torchaudio": of_torchaudio,
    "torchvision": of_torchvision,
    "video": of_video,
}
SLOW = {"layerzoo_catalogue"}
"""Lists all architectures of a library; building a catalogue runs it under the same guard."""


@pytest.mark.parametrize("namespace", CALLS)
def test_no_hook_opens_a_connection(namespace: str, tmp_path: Path, connections: list[object]) -> None:
    plugin = hooks(registry().plugin(namespace))
    calls = CALLS[namespace](tmp_path)
    assert set(calls) == {name for name in vars(plugin._manager.hook) if _implements(plugin, name)} - SLOW
    for call in calls.values():
        call(plugin)
    assert connections == []


@pytest.mark.slow
@pytest.mark.parametrize("namespace", ["hf", "timm", "torchaudio", "torchvision"])
def test_no_catalogue_opens_a_connection(namespace: str, connections: list[object]) -> None:
    assert hooks(registry().plugin(namespace)).catalogue()
    assert connections == []


def test_every_plugin_here_has_a_case() -> None:
    assert set(CALLS) == {each.namespace for each in registry().plugins()} - {"toy"}


def _implements(plugin: PluginHooks, name: str) -> bool:
    hook = getattr(plugin._manager.hook, name)
    return name.startswith("layerzoo_") and bool(hook.get_hookimpls())
