"""A transformer of scikit-learn: from paths, texts, images or arrays to the features of a layer.

>>> from layerzoo.sklearn import LayerFeatures
>>> LayerFeatures("toy/next-word", layer="block.0").transform(["the cat", "milk"])
array([[ 0.5,  1. ,  0.5],
       [-1. ,  0. ,  1. ]], dtype=float32)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import EstimatorDataError, UsageError
from layerzoo.extras import needs

with needs("sweep"):
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags

if TYPE_CHECKING:
    from layerzoo.features.cache import FeatureCache
    from layerzoo.runtime import Backbone

__all__ = ["LayerFeatures"]

_IN_MEMORY_BYTES = 2_000_000_000
"""The limit of the cache in memory."""
_EXTRACTION = ("temporal_pool", "chunks", "normalize", "decode", "batch_size")
"""Parameters that are arguments of an extraction."""
_LOADING = ("model", "weights", "device", "precision")


class LayerFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform samples to the features of a layer.

    It needs no fit, holds no weights, and loads the network when it first transforms. Clones and several estimators
    with the same parameters share one network.

    In a search over ``layer``, each sample goes through the network once: as soon as ``set_params(layer=…)`` was
    called, as ``GridSearchCV`` does, all layers are read and kept. With processes (``n_jobs``), use ``cache="disk"``.

    Args:
        model: the id of a model.
        layer: one or several names or selectors; the features of several are concatenated. None: the model's default.
        pool: a pooling, or a mapping from layers to poolings. None: the default of each layer.
        temporal_pool: as for :func:`layerzoo.extract`.
        weights: another checkpoint, or ``random:SEED``.
        device: a torch device.
        precision: as for :func:`layerzoo.load`.
        batch_size: rows in one forward pass.
        chunks: split long texts instead of truncating them.
        normalize: divide every vector by its length.
        decode: ``exact`` or ``fast``, as for :func:`layerzoo.extract`.
        cache: ``memory`` keeps the features of each sample in this process, ``disk`` in the cache folder, for all
            processes; None computes them each time.

    >>> features = LayerFeatures("toy/next-word", pool="max")
    >>> features.fit_transform(["the cat", "milk"]).shape
    (2, 3)
    >>> list(features.get_feature_names_out())
    ['block.0:0', 'block.0:1', 'block.0:2']
    """

    __single_column_transformer__ = True
    """For skrub: it transforms one column."""

    def __init__(
        self,
        model: str = "starter/minilm-l6",
        layer: str | Sequence[str] | None = None,
        pool: str | dict[str, str] | None = None,
        *,
        temporal_pool: str | None = None,
        weights: str | None = None,
        device: str = "cpu",
        precision: str = "float32",
        batch_size: int | None = None,
        chunks: bool = False,
        normalize: bool = False,
        decode: str = "exact",
        cache: Literal["memory", "disk"] | None = "memory",
    ) -> None:
        self.model = model
        self.layer = layer
        self.pool = pool
        self.temporal_pool = temporal_pool
        self.weights = weights
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self.chunks = chunks
        self.normalize = normalize
        self.decode = decode
        self.cache = cache

    def set_params(self, **params: Any) -> Self:
        """Set parameters. After a change of ``layer``, all layers are read at once and kept, for a search."""
        if "layer" in params and self.cache is not None:
            self._reads_all = True
        super().set_params(**params)
        return self

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the container of the samples. The network is not loaded.

        Args:
            X: as for :meth:`transform`.
            y: ignored.
        Raises: EstimatorDataError, which is a ValueError.
        """
        samples_in(X)
        self.n_features_in_ = 1
        names = getattr(X, "columns", None)
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(list(names), dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the features of samples.

        Args:
            X: a list, a tuple, an array (sample,) or (sample, 1), a Series, or a frame with one column: of paths,
                texts, images, arrays or audio, as :func:`layerzoo.extract` takes them.
        Returns: (sample, feature) float32.
        Raises: EstimatorDataError for another container; the errors of :func:`layerzoo.extract`.
        """
        samples = samples_in(X)
        columns = getattr(X, "columns", None)
        fitted_names = getattr(self, "feature_names_in_", None)
        if fitted_names is not None and columns is not None and list(columns) != fitted_names.tolist():
            raise EstimatorDataError(
                "The feature names should match those that were passed during fit: "
                f"{list(columns)} here, {fitted_names.tolist()} then"
            )
        backbone = self._backbone()
        if self.temporal_pool == "none" or "none" in backbone.pools.values():
            raise UsageError("pool='none' keeps sequences, and LayerFeatures gives a vector for each sample")
        from layerzoo.runtime import extract

        names = self._names(backbone)
        arguments = {name: getattr(self, name) for name in _EXTRACTION}
        features = extract(backbone, samples, **arguments, cache=_cache(self.cache), layer=None if self._all else names)
        parts = [features.by_layer[name] for name in names]
        return np.asarray(np.concatenate(parts, axis=1), np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the features: the layer, a colon and a number.

        Args:
            input_features: ignored, except that their number is checked.
        Raises: EstimatorDataError for several input features.
        """
        if input_features is not None and len(input_features) != 1:
            raise EstimatorDataError(
                f"input_features should have length equal to number of features (1), got {len(input_features)}"
            )
        from layerzoo.pooling import parse_temporal_pool, width

        backbone = self._backbone()
        temporal = None if self.temporal_pool is None else parse_temporal_pool(self.temporal_pool)
        by_name = {layer.name: layer for layer in backbone.layers}
        names = []
        for name in self._names(backbone):
            count = width(backbone.pools[name], by_name[name], temporal)
            if count is None:
                raise UsageError(f"{self.model}, layer {name}: the number of features is not known before a sample")
            names += [f"{name}:{number}" for number in range(count)]
        return np.array(names, dtype=object)

    @property
    def _all(self) -> bool:
        """Whether all layers are read, because a search changes ``layer``."""
        return getattr(self, "_reads_all", False) and (self.pool is None or isinstance(self.pool, str))

    def _backbone(self) -> Backbone:
        """Return the network, which estimators with the same parameters share."""
        loading = {name: getattr(self, name) for name in _LOADING}
        pool = tuple(self.pool.items()) if isinstance(self.pool, dict) else self.pool
        layers = _listed(self.layer)
        if self._all:  # the same network for all candidates
            layers = tuple(name for name in layers if name not in _usual(self.model))
        return _loaded(tuple(loading.items()), layers, pool, self._all, _state(self.weights))

    def _names(self, backbone: Backbone) -> list[str]:
        """Return the names of the chosen layers, in order."""
        from layerzoo.layers import select_all

        selectors = _listed(self.layer) or (backbone.spec.default.layer,)
        layers = {layer.name: layer for layer in backbone.layers}
        by_selector = select_all([*backbone.spec.layers], list(selectors), model=backbone.spec.id)
        names = [layer.name for layer in by_selector]
        if missing := [name for name in names if name not in layers]:
            raise UsageError(f"{self.model}: pool={self.pool!r} does not fit {', '.join(missing)}")
        return names

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def samples_in(X: Any) -> list[Any]:
    """Return the samples in a container.

    Args:
        X: see :meth:`LayerFeatures.transform`.
    Raises: EstimatorDataError.
    """
    if isinstance(X, str | bytes | os.PathLike) or not hasattr(X, "__len__"):
        raise EstimatorDataError(
            f"Expected a list, a 1D array or a column of samples, got a scalar or {type(X).__name__}. "
            "Next: a list with one sample"
        )
    if hasattr(X, "columns") and X.shape[1] != 1:
        raise EstimatorDataError(
            f"a frame of samples has one column, and this one has {X.shape[1]}: {', '.join(map(str, X.columns))}. "
            "Next: choose one, for example with a ColumnTransformer"
        )
    column = X if not hasattr(X, "columns") else X.iloc[:, 0] if hasattr(X, "iloc") else X.to_series(0)
    samples: list[Any]
    if hasattr(column, "to_list"):
        samples = column.to_list()
    elif hasattr(X, "ndim"):
        samples = _of_array(X)
    else:
        samples = [sample[0] if isinstance(sample, list | np.ndarray) and _is_cell(sample) else sample for sample in X]
    if not samples:
        raise EstimatorDataError("Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required")
    return samples


def _of_array(array: Any) -> list[Any]:
    """Return the samples of an array: its values if it has one axis or one column, else its images."""
    if not isinstance(array, np.ndarray) and not hasattr(array, "numpy"):
        raise EstimatorDataError(f"{type(array).__name__}: sparse matrices and lazy arrays hold no samples")
    if array.ndim == 0:
        raise EstimatorDataError("Expected a 1D array of samples, got a scalar array")
    if array.ndim == 1 or array.shape[1:] == (1,):
        samples: list[Any] = array.reshape(-1).tolist() if isinstance(array, np.ndarray) else list(array)
        return samples
    if array.ndim == 2:
        raise EstimatorDataError(
            f"Reshape your data: samples are a 1D array or one column, and X has {array.shape[1]} columns"
        )
    return list(array)


def _is_cell(value: Any) -> bool:
    """Return whether a row of a nested list holds one text or path."""
    return len(value) == 1 and isinstance(value[0], str | bytes | os.PathLike)


def _listed(layer: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if layer is None else (layer,) if isinstance(layer, str) else tuple(layer)


def _state(weights: str | None) -> str:
    """Return a text that changes with a file of weights."""
    from layerzoo.disk import fingerprint

    return fingerprint(os.stat(weights)) if weights and os.path.exists(weights) else ""  # noqa: PTH110, PTH116


@lru_cache(maxsize=4)
def _loaded(
    loading: tuple[tuple[str, Any], ...], layers: tuple[str, ...], pool: Any, reads_all: bool, state: str
) -> Backbone:
    """Load a network. reads_all: with all layers that are usually compared. state: of the file of its weights."""
    from layerzoo.runtime import load
    from layerzoo.runtime.several import load_several

    options = dict(loading)
    if reads_all:
        model = options.pop("model")
        pools = () if pool is None else (pool,)
        return load_several(model, [*_usual(model), *layers], pools, **options)[0]
    return load(**options, layer=list(layers) or None, pool=dict(pool) if isinstance(pool, tuple) else pool)


@lru_cache(maxsize=16)
def _usual(model: str) -> tuple[str, ...]:
    """Return the layers that are usually compared."""
    from layerzoo.runtime.loading import completed_spec
    from layerzoo.runtime.several import usual_layers

    return tuple(usual_layers(completed_spec(model)))


@lru_cache(maxsize=1)
def _memory() -> FeatureCache:
    from layerzoo.features.cache import FeatureCache

    return FeatureCache(None, _IN_MEMORY_BYTES)


def _cache(choice: str | None) -> bool | FeatureCache:
    if choice not in ("memory", "disk", None):
        raise UsageError(f"cache={choice!r} is none of 'memory', 'disk' and None")
    return _memory() if choice == "memory" else choice == "disk"
