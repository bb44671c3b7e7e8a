"""Small random sentence-transformers models in folders, as the library saves them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
TEXTS = [
    "a fine film",
    "Weights lie on the hub, and nothing is read that a cut does not need.",
    "A Waste of Time",
    "x",
    " ".join(f"{word} two three four" for word in ("one", "five", "nine", "thirteen", "seventeen")),
    "naïve café, don't stop!",
]
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
    "vocab_size": 400,
}
_KINDS: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "roberta": _SMALL,
    "mpnet": _SMALL,
    "electra": {**_SMALL, "embedding_size": 32},
    "albert": {**_SMALL, "embedding_size": 32},
    "distilbert": {
        "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 80, "vocab_size": 400
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 80, "vocab_size": 400},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 400},
}  # fmt: skip
KINDS = tuple(_KINDS)


def word_pieces(**settings: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer with [CLS] text [SEP], like BERT; upper and lower case differ."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<pad>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    around = [("[CLS]", 3), ("[SEP]", 4)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", **names, **{"model_max_length": 64, **settings}
    )


def bytes_alone(**settings: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer without special tokens around a text, like GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        **{"model_max_length": 64, **settings},
    )


def network_folder(folder: Path, kind: str, *, seed: int = 0, **tokenizer: Any) -> Path:
    """Save a random network and its tokenizer in a folder."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **_KINDS[kind])
    config.pad_token_id = 1 if kind != "gpt2" else 0
    network = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network.save_pretrained(folder)
    (bytes_alone if kind == "gpt2" else word_pieces)(**tokenizer).save_pretrained(folder)
    return folder


def save(folder: Path, network: Path, modules: list[Any], *, transformer: Any = None, **settings: Any) -> Path:
    """Save a model of a network and the modules after it. transformer: arguments of the library's Transformer."""
    first = Transformer(str(network), **(transformer or {}))
    SentenceTransformer(modules=[first, *modules], device="cpu", **settings).save(str(folder))
    return folder


def random_model(folder: Path, seed: int) -> Path:
    """Save a model whose network, modules and settings follow from a seed."""
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    network = network_folder(folder.with_name(f"{folder.name}-network"), kind, seed=seed)
    torch.manual_seed(seed)
    modes = draw.sample(POOLINGS, draw.choice([1, 1, 1, 2, 3]))
    width = 32 * len(modes)
    modules: list[Any] = [Pooling(32, pooling_mode=tuple(modes), include_prompt=draw.random() < 0.5)]
    for _ in range(draw.choice([0, 1, 2])):
        activation = draw.choice([torch.nn.Identity(), torch.nn.Tanh(), torch.nn.GELU(), torch.nn.ReLU()])
        modules.append(
            Dense(width, 24, bias=draw.random() < 0.7, activation_function=activation, use_residual=draw.random() < 0.3)
        )
        width = 24
    modules += [LayerNorm(width)] if draw.random() < 0.3 else []
    modules += [Dropout(0.3)] if draw.random() < 0.3 else []
    modules += [Normalize()] if draw.random() < 0.5 else []
    prompts = {"query": "search query: ", "passage": "A Passage to encode. "}
    settings: dict[str, Any] = {"prompts": prompts} if draw.random() < 0.6 else {}
    if settings and draw.random() < 0.6:
        settings["default_prompt_name"] = draw.choice(list(prompts))
    if draw.random() < 0.3:
        settings["truncate_dim"] = 10
    transformer: dict[str, Any] = {}
    if draw.random() < 0.5:
        transformer["max_seq_length"] = draw.choice([8, 16, 70])
    if draw.random() < 0.3:
        transformer["do_lower_case"] = True
    return save(folder, network, modules, transformer=transformer, **settings)
