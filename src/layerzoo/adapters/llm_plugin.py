"""Models as embedding models of the command line ``llm``: ``llm embed -m layerzoo/starter/minilm-l6 -c 'a text'``.

The package ``llm`` imports this module when it starts, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import llm

if TYPE_CHECKING:
    from layerzoo.adapters.embedder import Embedder

_BATCH = 64
_MODALITIES = ("text", "vision")
"""What ``llm`` can pass: texts, and the bytes of a file."""


@llm.hookimpl  # type: ignore[untyped-decorator]
def register_embedding_models(register: Callable[..., None]) -> None:
    """Register the installed text and image models, as ``layerzoo/`` and their ids."""
    from layerzoo.registry import registry

    zoo = registry()
    for modality in _MODALITIES:
        for model in zoo.ids(modality=modality):  # type: ignore[arg-type]  # one of the modalities
            register(ZooEmbeddingModel(model, modality))


class ZooEmbeddingModel(llm.EmbeddingModel):  # type: ignore[misc]
    """A model of the zoo for ``llm``. The network is loaded when the first vector is requested."""

    batch_size = _BATCH

    def __init__(self, id: str, modality: str) -> None:
        """Describe a model. id: its full id. modality: ``text`` or ``vision``."""
        self.model_id = f"layerzoo/{id}"
        self.supports_text = modality == "text"
        self.supports_binary = modality == "vision"
        self._id = id
        self._embedder: Embedder | None = None

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """Yield the vector of each text, or of the bytes of each image file.

        Args:
            items: the texts or bytes.
            key: unused; the model runs on this machine.
        """
        if self._embedder is None:
            from layerzoo.adapters.embedder import Embedder

            self._embedder = Embedder(self._id)
        rest: Iterator[Any] = iter(items)
        while batch := list(islice(rest, _BATCH)):
            yield from self._embedder.embed_documents(batch)
