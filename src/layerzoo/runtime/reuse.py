"""Use the cached features of samples that were extracted before with the same network and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.features.cache import CachedVector, FeatureCache
from layerzoo.media.content import sample_digest

_KEY_VERSION = 2
"""Raised when the features of unchanged settings change."""
_EVERYTHING = (
    *("model", "builder", "args", "preprocess", "precision", "dtype", "library_dtype", "device", "versions", "network"),
    *("replaced_modules", "normalize", "special_tokens", "sampling", "overlap", "prompt", "decode"),
)
"""Parts of a provenance that all layers share, and that decide about features."""
_OF_WEIGHTS = ("sha256", "changed", "entry", "removed_prefix", "keys", "dtypes")
_BY_LAYER = ("layers", "pooling", "image_pooling", "temporal_pool")


class FeatureReuse:
    """The cached features of one extraction.

    Args:
        cache: the database.
        provenance: of the extraction, with the sha256 of all weights; also ``network`` (see
            :func:`layerzoo.facts.network_state`) and ``replaced_modules``.
        closes: close the database after the extraction. Otherwise it stays open for its owner.
    Raises: UsageError for an extraction whose features the cache cannot identify.
    """

    def __init__(self, cache: FeatureCache, provenance: Mapping[str, Any], *, closes: bool) -> None:
        weights = provenance["weights"]
        is_random = str(weights["source"]).startswith("random:")
        if provenance.get("batch_dependent") or provenance.get("windows"):
            reason = "depend on the other samples of a batch" if provenance.get("batch_dependent") else "are windows"
            raise UsageError(f"cache=True keeps one vector of each sample, and these features {reason}")
        self.cache = cache
        self._closes = closes
        self.model: str = provenance["model"]
        shared = {
            "version": _KEY_VERSION,
            "weights": {name: weights.get(name) for name in _OF_WEIGHTS},
            "random": weights["source"] if is_random else None,
            "arithmetic": (torch.get_num_threads(), torch.get_float32_matmul_precision()),
            **{name: provenance.get(name) for name in _EVERYTHING},
        }
        self._prefixes = {
            layer: _digest({**shared, **{name: (provenance.get(name) or {}).get(layer) for name in _BY_LAYER}})
            for layer in provenance["layers"]
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._closes:
            self.cache.close()
        else:
            self.cache.save()

    def lookup(self, source: Any) -> tuple[bytes | None, dict[str, CachedVector]]:
        """Return the digest of a sample, and its features if all layers are cached.

        Args:
            source: of the sample. The digest is None where it cannot be computed; the sample is then extracted.
        """
        digest = sample_digest(source)
        if digest is None:
            return None, {}
        keys = {self._key(layer, digest): layer for layer in self._prefixes}
        cached = self.cache.get(list(keys))
        is_complete = len(cached) == len(keys)
        return digest, {layer: cached[key] for key, layer in keys.items()} if is_complete else {}

    def keep(self, digest: bytes, vectors: Mapping[str, NDArray[np.float32]], report: Mapping[str, int]) -> None:
        """Keep the features of a sample.

        Args:
            digest: of the sample.
            vectors: by layer.
            report: counts of the sample.
        """
        for layer, vector in vectors.items():
            entry = CachedVector(vector, report)
            self.cache.put(self._key(layer, digest), entry, model=self.model, layer=layer)

    def _key(self, layer: str, digest: bytes) -> bytes:
        return hashlib.sha256(self._prefixes[layer] + digest).digest()


def _digest(facts: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).digest()
