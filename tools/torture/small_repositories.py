"""Twenty small repositories of different types, with random weights, as the libraries save them."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "waste", "of", "time")
_WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_TEXT = {**_WIDTHS, "vocab_size": 64, "max_position_embeddings": 64}
_IMAGE = {**_WIDTHS, "image_size": 32, "patch_size": 8}
_AUDIO = {**_WIDTHS, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
_SIZE = {"height": 32, "width": 32}
_TOWERS = {
    "text_config": {**_TEXT, "projection_dim": 16},
    "vision_config": {**_IMAGE, "projection_dim": 16},
    "projection_dim": 16,
}
_CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("text", _TEXT),
    "roberta": ("text", _TEXT),
    "electra": ("text", {**_TEXT, "embedding_size": 32}),
    "distilbert": ("text", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "vocab_size": 64}),
    "mpnet": ("text", _TEXT),
    "gpt2": ("text", {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 64, "n_positions": 64}),
    "t5": ("text", {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": 64}),
    "vit": ("vision", _IMAGE),
    "deit": ("vision", _IMAGE),
    "dinov2": ("vision", _IMAGE),
    "convnext": ("vision", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "resnet": ("vision", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
    "clip": ("vision", _TOWERS),
    "siglip": ("vision", _TOWERS),
    "wav2vec2": ("audio", _AUDIO),
    "hubert": ("audio", _AUDIO),
}
"""By model type: the modality, and the fields that make its network small."""
_TIMM = "test_resnet"


@dataclass(frozen=True)
class SmallRepository:
    """A repository, and its use.

    Attributes:
        name: the model type, such as ``bert``.
        namespace: that of the plugin that reads the repository: ``hf`` or ``timm``.
        modality: that of its samples.
        files: the contents of the files, by name.
    """

    name: str
    namespace: str
    modality: str
    files: dict[str, bytes]

    @property
    def small_files(self) -> list[str]:
        """The names of the files that are not weights."""
        return sorted(name for name in self.files if not name.endswith(".safetensors"))


_FEW = ("bert", "gpt2", "t5", "vit", "wav2vec2")


def small_repositories(*, few: bool = False) -> list[SmallRepository]:
    """Return all of them, in about ten seconds, or a few that are sufficient for every attack."""
    made = [
        _of_transformers(kind, modality, given)
        for kind, (modality, given) in _CONFIGURATIONS.items()
        if not few or kind in _FEW
    ]
    bert = next(each for each in made if each.name == "bert")
    return [*made, _of_sentence_transformers(bert), _detector(), *_of_timm()]


def small_repository(kind: str) -> SmallRepository:
    """Return the repository of one model type of transformers."""
    return _of_transformers(kind, *_CONFIGURATIONS[kind])


def _of_transformers(kind: str, modality: str, given: dict[str, Any]) -> SmallRepository:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **given)
    files = _saved(config)
    if modality == "text" or "text_config" in given:
        files |= _tokenizer(kind)
    if modality == "vision":
        files["preprocessor_config.json"] = json.dumps(_image_processor()).encode()
    if modality == "audio":
        settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, "do_normalize": True}
        files["preprocessor_config.json"] = json.dumps({**settings, "feature_size": 1, "padding_value": 0.0}).encode()
    return SmallRepository(kind, "hf", modality, files)


def _of_sentence_transformers(bert: SmallRepository) -> SmallRepository:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds.items())
    ]
    own = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False, "tokenizer_args": {}},
        "config_sentence_transformers.json": {"prompts": {"query": "a "}, "default_prompt_name": None},
    }
    files = {**bert.files, **{name: json.dumps(plain).encode() for name, plain in own.items()}}
    return SmallRepository("sentence-transformers", "hf", "text", files)


def _detector() -> SmallRepository:
    """Return a detector with a backbone from timm."""
    from transformers import AutoConfig

    backbone = {"model_type": "timm_backbone", "backbone": _TIMM, "out_indices": [1, 2, 3, 4]}
    small = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 8}
    depth = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = AutoConfig.for_model("detr", backbone_config=backbone, **small, **depth)
    files = _saved(config)
    files["preprocessor_config.json"] = json.dumps({**_image_processor(), "do_pad": False}).encode()
    return SmallRepository("detr", "hf", "vision", files)


def _of_timm() -> list[SmallRepository]:
    """Return one repository for timm and for transformers, and one with further arguments."""
    import timm
    from safetensors.torch import save

    made = []
    for name, arguments in ((_TIMM, {}), ("test_vit", {"img_size": 64})):
        network = timm.create_model(name, **arguments)
        known = network.pretrained_cfg
        kept = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode", "num_classes", "tag")
        plain = {"architecture": name, "num_classes": network.num_classes, "num_features": network.num_features}
        plain |= {"model_args": arguments, "pretrained_cfg": {key: known.get(key) for key in kept}}
        tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        files = {"config.json": json.dumps(plain).encode(), "model.safetensors": save(tensors)}
        made.append(SmallRepository(f"timm {name}", "timm", "vision", files))
    return made


def _saved(config: Any) -> dict[str, bytes]:
    """Return the configuration and weights of a random network, as the library saves them."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        AutoModel.from_config(config).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _image_processor() -> dict[str, Any]:
    settings = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": _SIZE, "resample": 2}
    return {**settings, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True}


def _tokenizer(kind: str) -> dict[str, bytes]:
    if kind == "bert":
        settings: dict[str, Any] = {"tokenizer_class": "BertTokenizer", "model_max_length": 32}
        return {"vocab.txt": "\n".join(_WORDS).encode(), "tokenizer_config.json": json.dumps(settings).encode()}
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, "unk_token": "[UNK]"}
    settings |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return {"tokenizer.json": backend.to_str().encode(), "tokenizer_config.json": json.dumps(settings).encode()}
