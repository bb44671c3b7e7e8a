"""Models as embedding functions of LanceDB: ``get_registry().get("layerzoo").create(model="starter/minilm-l6")``."""

from __future__ import annotations

from typing import Any

from lancedb.embeddings import EmbeddingFunction, register
from pydantic import PrivateAttr

from layerzoo.adapters.embedder import Embedder


@register("layerzoo")
class LanceEmbeddings(EmbeddingFunction):  # type: ignore[misc]
    """An embedding function of LanceDB. Import this module before ``get_registry().get("layerzoo")``."""

    model: str
    """The id of the model."""
    layer: str | None = None
    """The layer; None for the model's default."""
    pool: str | None = None
    """The pooling; None for the model's default."""
    normalize: bool = False
    """Whether vectors are divided by their length."""
    _embedder: Embedder | None = PrivateAttr(default=None)

    def embedder(self) -> Embedder:
        """Return the model, which is loaded at the first call."""
        if self._embedder is None:
            self._embedder = Embedder(self.model, layer=self.layer, pool=self.pool, normalize=self.normalize)
        return self._embedder

    def ndims(self) -> int:
        """Return the number of features of a vector."""
        return self.embedder().width

    def compute_source_embeddings(self, inputs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the vector of each document."""
        return self.embedder()(self.sanitize_input(inputs))

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the vector of a query, or of each query of a list."""
        return self.embedder().embed_query(self.sanitize_input(query))
