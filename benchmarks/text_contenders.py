"""Contenders that compute the mean over the tokens of texts in MiniLM: users' code and layerzoo.

All use the weights and the tokenizer of the starter model, and truncate texts to its limit. Each is prepared once,
which loads its network. Each measured run returns (text, channel) float32, in the order of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.turns import FloatArray, Run
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, pipeline

import layerzoo
from layerzoo.spec import TextPreprocess
from layerzoo.weights import resolve

MODEL, EARLY, LAST = "starter/minilm-l6", "block.2", "block.5"
_BLOCKS = {EARLY: 3, LAST: 6}
_BATCH = 32
"""Texts per forward pass, for contenders with a fixed batch size: the libraries' default."""
_TOKENS = 2048
"""Tokens in one forward pass of the bare network."""

Contender = Callable[[Sequence[str]], Run]


def feature_pipeline(texts: Sequence[str]) -> Run:
    """Return transformers' pipeline, one text at a time: in a batch it would also return the padding."""
    extractor = pipeline("feature-extraction", model=str(_folder()), device="cpu")
    options = {"truncation": True, "max_length": _max_tokens()}

    def run() -> FloatArray:
        states = extractor(list(texts), **options)
        return np.stack([np.mean(state[0], axis=0, dtype=np.float32) for state in states])

    return run


def loop(texts: Sequence[str]) -> Run:
    """Return a usual user script: a tokenizer that pads, a network, and a mean under the attention mask."""
    tokenizer, network = AutoTokenizer.from_pretrained(_folder()), AutoModel.from_pretrained(_folder()).eval()

    def features(batch: Sequence[str]) -> Tensor:
        inputs = tokenizer(list(batch), padding=True, truncation=True, max_length=_max_tokens(), return_tensors="pt")
        hidden = network(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        means: Tensor = (hidden * mask).sum(1) / mask.sum(1)
        return means

    return lambda: _matrix(features(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH))


def sentence_transformers(texts: Sequence[str]) -> Run:
    """Return sentence-transformers, the library that this network was trained with."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    words = Transformer(str(_folder()), max_seq_length=_max_tokens())
    model = SentenceTransformer(modules=[words, Pooling(words.get_embedding_dimension())], device="cpu")

    def run() -> FloatArray:
        vectors: FloatArray = model.encode(list(texts), show_progress_bar=False)
        return vectors

    return run


def layerzoo_by_default(texts: Sequence[str], *, layer: str) -> Run:
    """Return an extraction from texts with a loaded backbone and default options."""
    backbone = layerzoo.load(MODEL, layer=layer, pool="mean")
    return lambda: layerzoo.extract(backbone, texts).values


def bare(texts: Sequence[str], *, layer: str) -> Run:
    """Return the network up to a layer, on prepared tokens in batches of equal length, without padding."""
    tokenizer, network = AutoTokenizer.from_pretrained(_folder()), AutoModel.from_pretrained(_folder()).eval()
    network.encoder.layer = network.encoder.layer[: _BLOCKS[layer]]
    network.pooler = None
    tokens = tokenizer(list(texts), truncation=True, max_length=_max_tokens(), padding=False)["input_ids"]
    batches, order = _buckets(tokens)
    original_order = np.argsort(order)

    def run() -> FloatArray:
        features = _matrix(network(batch).last_hidden_state.mean(1) for batch in batches)
        return features[original_order]

    return run


CONTENDERS: dict[str, Contender] = {
    "transformers pipeline": feature_pipeline,
    "transformers in a loop": loop,
    "sentence-transformers": sentence_transformers,
    f"layerzoo {LAST}": partial(layerzoo_by_default, layer=LAST),
    f"layerzoo {EARLY}": partial(layerzoo_by_default, layer=EARLY),
    f"bare network {LAST}": partial(bare, layer=LAST),
    f"bare network {EARLY}": partial(bare, layer=EARLY),
}


def prepared(texts: Sequence[str], name: str) -> Run:
    return CONTENDERS[name](texts)


def _folder() -> Path:
    return resolve(layerzoo.model(MODEL).weights)["config.json"].parent


def _max_tokens() -> int:
    declared = layerzoo.model(MODEL).preprocess
    assert isinstance(declared, TextPreprocess)
    return declared.max_tokens


def _buckets(tokens: Sequence[Sequence[int]]) -> tuple[list[Tensor], list[int]]:
    """Return batches of equal length, the longest first, and the indices of their texts in this order."""
    by_length: dict[int, list[int]] = {}
    for index, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(index)
    batches: list[list[int]] = []
    for length, indices in sorted(by_length.items(), reverse=True):
        size = max(1, _TOKENS // length)
        batches += [indices[start : start + size] for start in range(0, len(indices), size)]
    order = [index for batch in batches for index in batch]
    return [torch.tensor([tokens[index] for index in batch]) for batch in batches], order


def _matrix(features: Iterable[Any]) -> FloatArray:
    with torch.no_grad():
        joined: FloatArray = torch.cat(list(features)).numpy()
    return joined
