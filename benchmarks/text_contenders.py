"""Ways from texts to the mean of their tokens' vectors in MiniLM: those that users write, and layerzoo.

All have the weights and the tokenizer of the starter model, and take texts up to its longest input. Each is prepared
once, which loads its network; what it then does again and again gives (text, channel) float32, in the order of the
texts.
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
"""Texts in one forward pass, where somebody has to say: the libraries' own default, or what is usual."""
_TOKENS = 2048
"""Tokens in one forward pass of the bare network."""

Contender = Callable[[Sequence[str]], Run]


def feature_pipeline(texts: Sequence[str]) -> Run:
    """transformers' pipeline as it comes, one text after the other: in a batch it would give the padding too."""
    extractor = pipeline("feature-extraction", model=str(_folder()), device="cpu")
    options = {"truncation": True, "max_length": _max_tokens()}

    def run() -> FloatArray:
        found = extractor(list(texts), **options)
        return np.stack([np.mean(one[0], axis=0, dtype=np.float32) for one in found])

    return run


def loop(texts: Sequence[str]) -> Run:
    """What a user writes: a tokenizer that pads, a network, and a mean under the mask."""
    tokenizer, network = AutoTokenizer.from_pretrained(_folder()), AutoModel.from_pretrained(_folder()).eval()

    def features(batch: Sequence[str]) -> Tensor:
        inputs = tokenizer(list(batch), padding=True, truncation=True, max_length=_max_tokens(), return_tensors="pt")
        hidden = network(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        means: Tensor = (hidden * mask).sum(1) / mask.sum(1)
        return means

    return lambda: _matrix(features(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH))


def sentence_transformers(texts: Sequence[str]) -> Run:
    """The library that this network was made with."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    words = Transformer(str(_folder()), max_seq_length=_max_tokens())
    model = SentenceTransformer(modules=[words, Pooling(words.get_embedding_dimension())], device="cpu")

    def run() -> FloatArray:
        found: FloatArray = model.encode(list(texts), show_progress_bar=False)
        return found

    return run


def layerzoo_as_it_comes(texts: Sequence[str], *, layer: str) -> Run:
    """A loaded backbone, asked for the features of texts."""
    backbone = layerzoo.load(MODEL, layer=layer, pool="mean")
    return lambda: layerzoo.extract(backbone, texts).values


def bare(texts: Sequence[str], *, layer: str) -> Run:
    """The network up to a layer alone, on tokens that are ready, in batches of one length: nothing is padded."""
    tokenizer, network = AutoTokenizer.from_pretrained(_folder()), AutoModel.from_pretrained(_folder()).eval()
    network.encoder.layer = network.encoder.layer[: _BLOCKS[layer]]
    network.pooler = None
    tokens = tokenizer(list(texts), truncation=True, max_length=_max_tokens(), padding=False)["input_ids"]
    ready, order = _buckets(tokens)
    back = np.argsort(order)

    def run() -> FloatArray:
        features = _matrix(network(batch).last_hidden_state.mean(1) for batch in ready)
        return features[back]

    return run


CONTENDERS: dict[str, Contender] = {
    "transformers pipeline": feature_pipeline,
    "transformers in a loop": loop,
    "sentence-transformers": sentence_transformers,
    f"layerzoo {LAST}": partial(layerzoo_as_it_comes, layer=LAST),
    f"layerzoo {EARLY}": partial(layerzoo_as_it_comes, layer=EARLY),
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
    """Batches of one length, the longest first; and which texts stand in them, one after the other."""
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(place)
    batches: list[list[int]] = []
    for length, places in sorted(by_length.items(), reverse=True):
        size = max(1, _TOKENS // length)
        batches += [places[at : at + size] for at in range(0, len(places), size)]
    return [torch.tensor([tokens[at] for at in batch]) for batch in batches], [at for batch in batches for at in batch]


def _matrix(features: Iterable[Any]) -> FloatArray:
    with torch.no_grad():
        joined: FloatArray = torch.cat(list(features)).numpy()
    return joined
