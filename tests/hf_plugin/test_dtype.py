"""Checkpoints stored in bfloat16 or float16: computing in float32 is announced, and `precision="library"` equals the
library, which computes in the dtype of the checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from tests.hf_plugin.sentence_encoders import KINDS, POOLINGS, TEXTS, network_folder, save, word_pieces
from tests.terminal import Zoo
from transformers import AutoConfig, AutoModel

import layerzoo
from layerzoo.media.audio_input import Audio
from layerzoo.runtime.precision import announce_other_dtype
from layerzoo_hf.parts import backbone_path

Declare = Callable[..., str]
_DECODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "vocab_size": 400, "pad_token_id": 1,
}  # fmt: skip
_VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
_AUDIO = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
_TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("text", _DECODER),
    "qwen3": ("text", _DECODER),
    "gemma2": ("text", _DECODER),
    "modernbert": ("text", {**_DECODER, "global_attn_every_n_layers": 2}),
    "deberta-v2": ("text", {**_DECODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "bart": ("text", {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
                      "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 400}),
    "vit": ("vision", _VIT),
    "dinov2": ("vision", _VIT),
    "convnext": ("vision", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": 64}),
    "swin": ("vision", {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 64}),
    "wav2vec2": ("audio", _AUDIO),
    "hubert": ("audio", _AUDIO),
    "whisper": ("audio", {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
                          "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}),
}  # fmt: skip


@pytest.fixture
def declare(home: Path) -> Declare:
    """Return a function that declares the model in a folder as ``mine/NAME``, and returns that id."""
    declared: dict[str, Any] = {}

    def add(folder: Path, modality: str = "text", **more: Any) -> str:
        name = f"mine/{folder.name}"
        declared[name] = {"modality": modality, "builder": "transformers", "weights": f"file:{folder}", **more}
        (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": declared}))
        return name

    return add


def stored_in(folder: Path, kind: str, settings: dict[str, Any], dtype: torch.dtype) -> Path:
    """Save a random network in a folder, in a dtype."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings)
    network = AutoModel.from_config(config, dtype=dtype)
    network.save_pretrained(folder)
    return folder


def _sampled(kinds: Any, *always: Any) -> list[Any]:
    """Mark all cases as slow but for the given ones."""
    return [kind if kind in always else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", _sampled(_TYPES, "llama", "vit", "wav2vec2"))
def test_a_network_stored_in_bfloat16_equals_the_library_bit_for_bit(
    kind: str, tmp_path: Path, declare: Declare
) -> None:
    modality, settings = _TYPES[kind]
    folder = stored_in(tmp_path / kind, kind, settings, torch.bfloat16)
    if modality == "text":
        word_pieces().save_pretrained(folder)
    backbone = layerzoo.load(declare(folder, modality), layer=["@0.5", "last"], precision="library")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    sample: Any = {
        "text": TEXTS[1],
        "vision": image,
        "audio": Audio(rng.normal(size=16_000).astype(np.float32), 16_000),
    }[modality]
    batch = backbone.preprocess([sample])
    network = AutoModel.from_pretrained(folder).eval()
    part = network.get_submodule(backbone_path(network, modality))
    found: dict[str, Any] = {}
    for layer in backbone.layers:
        part.get_submodule(layer.module).register_forward_hook(
            lambda module, args, output, name=layer.name: found.update({name: output})
        )
    with torch.no_grad():
        batch.cast(network.dtype).run(part)
    activations = backbone.activations(batch)
    assert network.dtype is torch.bfloat16
    for layer in backbone.layers:
        wanted = found[layer.name] if isinstance(found[layer.name], torch.Tensor) else found[layer.name][0]
        assert torch.equal(activations[layer.name], wanted), layer.name
    assert backbone.provenance["dtype"] == backbone.provenance["library_dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", _sampled([torch.bfloat16, torch.float16], torch.bfloat16))
@pytest.mark.parametrize("kind", _sampled(KINDS, "bert", "t5"))
def test_an_embedding_stored_in_16_bits_equals_encode(
    kind: str, dtype: torch.dtype, tmp_path: Path, declare: Declare
) -> None:
    network = network_folder(tmp_path / "network", kind)
    AutoModel.from_pretrained(network, dtype=dtype).save_pretrained(network)
    modules = [Pooling(32, pooling_mode=POOLINGS), Dense(32 * len(POOLINGS), 24), Normalize()]
    folder = save(tmp_path / "model", network, modules)
    library = SentenceTransformer(str(folder), device="cpu")
    assert library.dtype is dtype
    wanted = torch.stack(list(library.encode(TEXTS, batch_size=1, convert_to_numpy=False))).float().numpy()
    found = layerzoo.extract(declare(folder), TEXTS, batch_size=1, precision="library")
    assert np.array_equal(found.values, wanted)


@pytest.mark.parametrize("modality", ["text", "vision"])
def test_a_dual_encoder_stored_in_bfloat16_equals_the_method_of_the_library(
    modality: str, tmp_path: Path, declare: Declare
) -> None:
    torch.manual_seed(0)
    part = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    text, vision = {**part, "vocab_size": 400, "eos_token_id": 4}, {**part, "image_size": 32, "patch_size": 8}
    config = AutoConfig.for_model("clip", text_config=text, vision_config=vision, projection_dim=16)
    AutoModel.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path / "clip")
    word_pieces().save_pretrained(tmp_path / "clip")
    backbone = layerzoo.load(declare(tmp_path / "clip", modality), precision="library")
    image = np.random.default_rng(0).integers(0, 255, (48, 40, 3), dtype=np.uint8)
    batch = backbone.preprocess([TEXTS[1] if modality == "text" else image])
    network = AutoModel.from_pretrained(tmp_path / "clip").eval()
    with torch.no_grad():
        if modality == "text":
            wanted = network.get_text_features(**batch.inputs).pooler_output
        else:
            (pixels,) = batch.cast(torch.bfloat16).inputs.values()
            wanted = network.get_image_features(pixel_values=pixels).pooler_output
    assert backbone.layers[0].name == "embedding"
    assert torch.equal(backbone.activations(batch)["embedding"], wanted)


def test_float32_is_announced_if_the_library_computes_in_another_dtype(
    tmp_path: Path, declare: Declare, zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    folder = network_folder(tmp_path / "half", "bert")
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    model = declare(folder)
    announce_other_dtype.cache_clear()
    with caplog.at_level(logging.WARNING, "layerzoo"):
        backbone = layerzoo.load(model)
    assert f"{model}: features are computed in float32; with this checkpoint its library computes in bfloat16" in (
        caplog.text
    )
    kept = backbone.provenance
    assert (kept["precision"], kept["dtype"], kept["library_dtype"]) == ("float32", "float32", "bfloat16")
    assert kept["weights"]["dtypes"] == ["bfloat16"]
    shown = zoo("show", model, "--format", "table").out
    assert "float32; the checkpoint is stored in bfloat16" in " ".join(shown.split())
    caplog.clear()
    layerzoo.load(model, precision="library")
    assert "computes in bfloat16" not in caplog.text


def test_a_float32_checkpoint_is_always_computed_in_float32(tmp_path: Path, declare: Declare) -> None:
    model = declare(network_folder(tmp_path / "single", "bert"))
    backbones = [layerzoo.load(model, precision=precision) for precision in ("float32", "library")]
    one, other = (layerzoo.extract(backbone, TEXTS).values for backbone in backbones)
    assert np.array_equal(one, other)
    assert backbones[1].provenance["dtype"] == "float32"


def test_without_a_configured_dtype_that_of_the_checkpoint_is_used(tmp_path: Path, declare: Declare) -> None:
    folder = network_folder(tmp_path / "unsaid", "bert")
    AutoModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["dtype"]
    (folder / "config.json").write_text(json.dumps(config))
    assert AutoModel.from_pretrained(folder).dtype is torch.float16
    assert layerzoo.load(declare(folder), precision="library").provenance["dtype"] == "float16"


def test_the_dtype_of_sentence_transformers_is_used(tmp_path: Path, declare: Declare) -> None:
    network = network_folder(tmp_path / "network", "bert")
    AutoModel.from_pretrained(network, dtype=torch.bfloat16).save_pretrained(network)
    folder = save(tmp_path / "model", network, [Pooling(32)])
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_kwargs": {"torch_dtype": "float32"}}))
    wanted = SentenceTransformer(str(folder), device="cpu")
    assert wanted.dtype is torch.float32
    backbone = layerzoo.load(declare(folder))
    assert backbone.provenance["library_dtype"] == "float32"
    assert np.allclose(layerzoo.extract(backbone, TEXTS).values, wanted.encode(TEXTS), atol=1e-6)
