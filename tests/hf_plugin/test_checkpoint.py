"""Checkpoints as they are published equal the network that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo_hf.checkpoint import mapped

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 99}
EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_key_value_heads": 2, "head_dim": 16}


def published(config: Any, head: Any = AutoModel) -> dict[str, torch.Tensor]:
    """Return seeded random weights of a network, with or without a task's head, each with separate memory."""
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in head.from_config(config).state_dict().items()}


def with_old_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the keys as in BERT's first checkpoints."""
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {
        next((name.replace(new, was) for new, was in old.items() if new in name), name): tensor
        for name, tensor in tensors.items()
    }


def bert() -> Any:
    return AutoConfig.for_model("bert", **SMALL)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (bert(), AutoModel),
        (bert(), AutoModelForSequenceClassification),
        (AutoConfig.for_model("t5", d_model=32, num_layers=2, d_ff=64, num_heads=2, d_kv=16, vocab_size=99), AutoModel),
        (AutoConfig.for_model("qwen3_moe", **SMALL, **EXPERTS), AutoModelForCausalLM),
        (AutoConfig.for_model("wav2vec2", **{**SMALL, "vocab_size": 32}), AutoModel),
    ],
    ids=lambda each: getattr(each, "model_type", getattr(each, "__name__", None)),
)
def test_keys_are_mapped_without_reading_tensors(config: Any, head: Any) -> None:
    tensors = with_old_names(published(config, head))
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    found = mapped(config, meta)
    own = AutoModel.from_config(config).state_dict()
    assert {name: tensor.shape for name, tensor in found.items()} == {name: each.shape for name, each in own.items()}
    assert {id(tensor) for tensor in found.values()} <= {id(tensor) for tensor in meta.values()}
    values = mapped(config, tensors)
    origins = {id(tensor): name for name, tensor in meta.items()}
    assert all(torch.equal(values[name], tensors[origins[id(tensor)]]) for name, tensor in found.items())


def test_tensors_missing_from_the_checkpoint_are_not_created() -> None:
    tensors = published(bert())
    del tensors["encoder.layer.1.output.dense.weight"]
    assert set(mapped(bert(), tensors)) == set(tensors)


def test_a_tensor_of_another_shape_is_unchanged() -> None:
    tensors = published(bert()) | {"pooler.dense.bias": torch.zeros(7)}
    assert mapped(bert(), tensors)["pooler.dense.bias"].shape == (7,)


def test_half_precision_needs_no_conversion() -> None:
    tensors = {name: tensor.half() for name, tensor in published(bert()).items()}
    assert all(mapped(bert(), tensors)[name] is tensor for name, tensor in tensors.items())


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("dtype", "scale", "message"),
    [
        (torch.float8_e4m3fn, "weight_scale_inv", "means nothing without '.*query.weight_scale_inv'"),
        (torch.int8, "SCB", "means nothing without '.*query.SCB'"),
        (torch.int8, None, "query.weight' is torch.int8 in the checkpoint"),
    ],
)
def test_quantised_weights_are_refused_where_the_configuration_does_not_say_how(
    dtype: torch.dtype, scale: str | None, message: str, device: str, prefix: str
) -> None:
    tensors = {prefix + name: tensor.to(device) for name, tensor in published(bert()).items()}
    name = f"{prefix}encoder.layer.0.attention.self.query.weight"
    tensors[name] = tensors[name].to(dtype)
    if scale is not None:
        tensors[name.replace("weight", scale)] = torch.ones(1, device=device)
    with pytest.raises(WeightsError, match=message):
        mapped(bert(), tensors)


def test_a_cast_to_float8_without_scales_equals_the_library() -> None:
    tensors = published(bert())
    name = "encoder.layer.0.attention.self.query.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    assert torch.equal(mapped(bert(), tensors)[name].float(), tensors[name].float())


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "torchao", "hqq"])
def test_a_method_that_the_library_never_dequantises_is_refused_without_asking_for_its_package(method: str) -> None:
    config = bert()
    config.quantization_config = {"quant_method": method, "load_in_8bit": True, "bits": 4}
    tensors = published(config) | {"encoder.layer.0.attention.self.query.qweight": torch.ones(1, dtype=torch.int32)}
    with pytest.raises(WeightsError, match=f"{method}, which transformers does not dequantise"):
        mapped(config, tensors)


@pytest.fixture
def old_bert(home: Path) -> Path:
    """Write a classifier under old keys in a folder of the user, declared as mine/bert."""
    folder = home / "bert"
    folder.mkdir()
    save_file(with_old_names(published(bert(), AutoModelForSequenceClassification)), folder / "model.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "config.json").write_text(json.dumps(bert().to_dict()))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  bert: {modality: text, builder: transformers, weights: file:./bert/}\n"
    )
    return folder


def test_a_cut_equals_the_network_loaded_by_transformers(old_bert: Path) -> None:
    network = AutoModel.from_pretrained(old_bert).eval()
    backbone = layerzoo.load("mine/bert", layer="block.1")
    batch = backbone.preprocess(["a fine film"])
    found = backbone.module(batch)["block.1"]
    with torch.inference_mode():
        wanted = network(**batch.inputs, output_hidden_states=True).hidden_states[2]
    assert torch.equal(found, wanted)
    assert backbone.provenance["loaded"]["tensors"] == 5 + 2 * 16  # of the embeddings, and of two blocks


def test_a_missing_key_of_the_cut_is_named(old_bert: Path) -> None:
    tensors = with_old_names(published(bert(), AutoModelForSequenceClassification))
    del tensors["bert.encoder.layer.0.output.dense.weight"]
    save_file(tensors, old_bert / "model.safetensors")
    with pytest.raises(WeightsError, match=r"has no 'encoder\.layer\.0\.output\.dense\.weight'"):
        layerzoo.load("mine/bert", layer="block.1")
