"""A model as an embedding function, in the forms that sentence-transformers, LangChain and Chroma call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.registry.index.query import no_such

if TYPE_CHECKING:
    from layerzoo.runtime import Backbone
    from layerzoo.spec import ModelSpec

FloatArray = NDArray[np.float32]

_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""The names of prompts, in the order in which sentence-transformers looks for them."""


class Embedder:
    """A loaded model that turns each input into one vector.

    It has the methods of an ``Embeddings`` of LangChain, without being an instance of that class, of an
    ``EmbeddingFunction`` of Chroma, and the ``encode`` of sentence-transformers. A model with prompts gets its prompt
    named ``query`` before queries, and that named ``document``, ``passage`` or ``corpus`` before documents.

    >>> embedder = layerzoo.Embedder("toy/next-word")
    >>> embedder.encode(["the cat", "milk"]).shape
    (2, 3)
    >>> embedder.embed_query("milk")
    [-1.0, 0.0, 1.0]
    """

    def __init__(
        self,
        model: str | ModelSpec | Backbone,
        *,
        layer: str | None = None,
        pool: str | None = None,
        normalize: bool = False,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        """Load a model.

        Args:
            model: an id, a spec, or a loaded backbone of one layer.
            layer: the layer, by name or selector; None for the model's default.
            pool: the pooling; None for the model's default.
            normalize: divide every vector by its length.
            batch_size: rows in one forward pass; by default as :func:`layerzoo.extract` chooses it.
            options: ``weights``, ``device``, ``precision`` and ``trust_declaration`` of :func:`layerzoo.load`.
        Raises: as :func:`layerzoo.load`; UsageError for several layers, and for a layer without a vector per sample.

        >>> layerzoo.Embedder("toy/next-word", layer="head", normalize=True).width
        8
        """
        from layerzoo.runtime import Backbone, load

        if isinstance(model, Backbone):
            if options:
                raise UsageError(f"{', '.join(sorted(options))} belong to load(): this backbone is loaded already")
            self._backbone = model
        else:
            self._backbone = load(model, layer=layer, pool=pool, **options)
        pools = self._backbone.select_pools(layer, pool)
        if len(pools) != 1:
            raise UsageError(
                f"an Embedder has one vector per input, and {len(pools)} layers were chosen: {', '.join(pools)}"
            )
        if "none" in pools.values():
            raise UsageError("an Embedder has one vector per input; pool='none' keeps all positions")
        self._request: dict[str, Any] = {"layer": list(pools), "pool": pools, "normalize": normalize}
        self._batch_size = batch_size
        self._config = {"layer": layer, "pool": pool, "normalize": normalize, "batch_size": batch_size, **options}
        self._width: int | None = None

    @property
    def backbone(self) -> Backbone:
        """The loaded network.

        >>> layerzoo.Embedder("toy/next-word").backbone.spec.id
        'toy/next-word'
        """
        return self._backbone

    @property
    def width(self) -> int:
        """The number of features of a vector. A vector is computed if the declaration does not state it.

        >>> layerzoo.Embedder("toy/next-word").width
        3
        """
        if self._width is None:
            from layerzoo.pooling import width

            ((layer, pool),) = self._request["pool"].items()
            declared = {each.name: each for each in self._backbone.layers}[layer]
            self._width = width(pool, declared)
            if self._width is None:
                raise UsageError(f"the number of features of {self._backbone.spec.id}, layer {layer}, is unknown")
        return self._width

    @overload
    def encode(
        self,
        inputs: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
    ) -> FloatArray: ...
    @overload
    def encode(
        self,
        inputs: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any: ...
    def encode(
        self,
        inputs: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """Return a vector for each input.

        Arguments have the names and the meaning of those of sentence-transformers.

        Args:
            inputs: a list of texts, or of images, audio clips or videos in any form that :func:`layerzoo.extract`
                takes. A single text, a path of a single file, and a single image or clip in memory are one input.
            prompt: the name of a prompt of the model, or a text before every text; None for the model's default.
            prompt_name: the name of a prompt of the model. It is ignored if ``prompt`` is given.
            batch_size: rows in one forward pass.
            show_progress_bar: show the progress, as ``progress=True`` of :func:`layerzoo.extract` does.
            normalize_embeddings: divide every vector by its length, also if the embedder was made without
                ``normalize=True``.
            convert_to_numpy: False for a list of tensors, one for each input.
            convert_to_tensor: True for one tensor.
        Returns: (n, width) float32 in the order of the inputs; (width,) for a single input. A folder, a pattern, and an
            array for a network without preprocessing (:func:`layerzoo.wrap`) are several inputs.
        Raises: as :func:`layerzoo.extract`: an input that cannot be used is an error, never a missing row; UsageError
            for a ``prompt_name`` that the model does not have.

        >>> embedder = layerzoo.Embedder("toy/next-word")
        >>> embedder.encode(["the cat"])
        array([[0.5, 1. , 0.5]], dtype=float32)
        >>> embedder.encode("the cat", convert_to_tensor=True).shape
        torch.Size([3])
        """
        from layerzoo.features.convert import tensor_of

        is_one_sample = self._is_one_sample(inputs)
        options = {
            **self._request,
            "normalize": self._request["normalize"] or normalize_embeddings,
            "batch_size": self._batch_size if batch_size is None else batch_size,
            "prompt": self._named_prompt(prompt_name) if prompt is None else prompt,
            "progress": show_progress_bar,
        }
        # A string in a list is a text or one path; a path alone may be a file with several texts.
        vectors = self._vectors([inputs] if is_one_sample else inputs, options)
        result = vectors[0] if is_one_sample else vectors
        if convert_to_tensor or (not convert_to_numpy and is_one_sample):
            return tensor_of(result)
        return result if convert_to_numpy else list(tensor_of(result))

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """Return the result of :meth:`encode` with the model's prompt for queries, if it has one.

        Args:
            inputs: as for :meth:`encode`.
            options: those of :meth:`encode`.

        >>> layerzoo.Embedder("toy/next-word").encode_query("milk").shape
        (3,)
        """
        return self._encode_as("query", inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """Return the result of :meth:`encode` with the model's prompt for documents, if it has one.

        Args:
            inputs: as for :meth:`encode`.
            options: those of :meth:`encode`.

        >>> layerzoo.Embedder("toy/next-word").encode_document(["milk"]).shape
        (1, 3)
        """
        return self._encode_as("document", inputs, options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of the angle between each vector of a collection and each of another.

        Args:
            embeddings1: (n, width), or (width,) for one vector: arrays, tensors or lists of them.
            embeddings2: (m, width), or (width,) for one vector.
        Returns: (n, m) float32, a tensor, as in sentence-transformers.

        >>> embedder = layerzoo.Embedder("toy/next-word")
        >>> embedder.similarity(embedder.encode(["milk", "meat"]), embedder.encode("milk")).shape
        torch.Size([2, 1])
        """
        from layerzoo.features.convert import cosines

        return cosines(embeddings1, embeddings2)

    def get_embedding_dimension(self) -> int:
        """Return :attr:`width`.

        >>> layerzoo.Embedder("toy/next-word").get_embedding_dimension()
        3
        """
        return self.width

    def get_sentence_embedding_dimension(self) -> int:
        """Return :attr:`width`, under the former name of :meth:`get_embedding_dimension`.

        >>> layerzoo.Embedder("toy/next-word").get_sentence_embedding_dimension()
        3
        """
        return self.width

    def _is_one_sample(self, inputs: Any) -> bool:
        from layerzoo.media.samples import is_one_sample
        from layerzoo.runtime.preprocess.arrays import ArrayPreprocessor

        if isinstance(self._backbone.preprocess, ArrayPreprocessor):
            return False
        return is_one_sample(inputs, self._backbone.spec.modality)

    def _vectors(self, inputs: Any, options: dict[str, Any]) -> FloatArray:
        from layerzoo.runtime import extract

        listed = inputs if isinstance(inputs, str | os.PathLike) else _listed(inputs)
        if isinstance(listed, list) and not listed:
            return np.empty((0, self.width), dtype=np.float32)
        values: FloatArray = extract(self._backbone, listed, **options).values
        return values

    def _encode_as(self, role: Literal["query", "document"], inputs: Any, options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options["prompt"] = self.prompt_for(role)
        return self.encode(inputs, **options)

    def _named_prompt(self, name: str | None) -> str | None:
        """Return a prompt of the model by its name. Raises: UsageError if it has none of that name."""
        names = getattr(self._backbone.preprocess, "prompt_names", ())
        if name is None or name in names:
            return name
        if name in ("query", "document"):  # every model of sentence-transformers has these, empty unless declared
            return "" if self._backbone.spec.modality == "text" else None
        raise no_such(f"prompt of {self._backbone.spec.id}", name, [*names, "query", "document"])

    def embed_documents(self, texts: Sequence[Any]) -> list[list[float]]:
        """Return the vectors of documents as lists of numbers, as LangChain expects them.

        Args:
            texts: a list of texts, or of inputs of the model's modality.
        Returns: one list of ``width`` numbers for each.

        >>> layerzoo.Embedder("toy/next-word").embed_documents(["milk", "meat"])
        [[-1.0, 0.0, 1.0], [-1.0, 0.0, -1.0]]
        """
        vectors: list[list[float]] = self.encode(list(texts), prompt=self.prompt_for("document")).tolist()
        return vectors

    @overload
    def embed_query(self, input: str) -> list[float]: ...
    @overload
    def embed_query(self, input: Sequence[Any]) -> list[FloatArray]: ...
    def embed_query(self, input: str | Sequence[Any]) -> list[float] | list[FloatArray]:
        """Return the vector of a query.

        Args:
            input: a text, as LangChain passes it, or a list of inputs, as Chroma does.
        Returns: ``width`` numbers for a text; for a list, an array (width,) for each input.

        >>> layerzoo.Embedder("toy/next-word").embed_query(["milk"])
        [array([-1.,  0.,  1.], dtype=float32)]
        """
        if isinstance(input, str):
            numbers: list[float] = self.encode([input], prompt=self.prompt_for("query"))[0].tolist()
            return numbers
        return list(self.encode(list(input), prompt=self.prompt_for("query")))

    async def aembed_documents(self, texts: Sequence[Any]) -> list[list[float]]:
        """Return the result of :meth:`embed_documents`, computed in another thread.

        Args:
            texts: a list of texts, or of inputs of the model's modality.

        >>> import asyncio
        >>> asyncio.run(layerzoo.Embedder("toy/next-word").aembed_documents(["milk"]))
        [[-1.0, 0.0, 1.0]]
        """
        return await asyncio.to_thread(self.embed_documents, texts)

    @overload
    async def aembed_query(self, input: str) -> list[float]: ...
    @overload
    async def aembed_query(self, input: Sequence[Any]) -> list[FloatArray]: ...
    async def aembed_query(self, input: str | Sequence[Any]) -> list[float] | list[FloatArray]:
        """Return the result of :meth:`embed_query`, computed in another thread.

        Args:
            input: as for :meth:`embed_query`.

        >>> import asyncio
        >>> asyncio.run(layerzoo.Embedder("toy/next-word").aembed_query("milk"))
        [-1.0, 0.0, 1.0]
        """
        return await asyncio.to_thread(self.embed_query, input)

    def __call__(self, input: Sequence[Any]) -> list[FloatArray]:
        """Return the vector (width,) of each document, as Chroma expects them.

        >>> layerzoo.Embedder("toy/next-word")(["meat"])
        [array([-1.,  0., -1.], dtype=float32)]
        """
        return list(self.encode(list(input), prompt=self.prompt_for("document")))

    def prompt_for(self, role: Literal["query", "document"]) -> str | None:
        """Return the name of the model's prompt for queries or documents; None if it has none.

        >>> layerzoo.Embedder("toy/next-word").prompt_for("query")
        """
        known = getattr(self._backbone.preprocess, "prompt_names", ())
        names = _QUERY_PROMPTS if role == "query" else _DOCUMENT_PROMPTS
        return next((name for name in names if name in known), None)

    def __repr__(self) -> str:
        return f"<Embedder {self._backbone.spec.id}, layer {', '.join(self._request['layer'])}>"

    # ------------------------------------------------------------ the protocol of Chroma

    @staticmethod
    def name() -> str:
        """Return the name under which Chroma stores this kind of embedding function.

        >>> layerzoo.Embedder.name()
        'layerzoo'
        """
        return "layerzoo"

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which :meth:`build_from_config` makes the same embedder.

        >>> layerzoo.Embedder("toy/next-word").get_config()["model"]
        'toy/next-word'
        """
        return {
            "model": self._backbone.spec.id,
            **{name: value for name, value in self._config.items() if value is not None},
        }

    @classmethod
    def build_from_config(cls, config: dict[str, Any]) -> Self:
        """Make an embedder from the result of :meth:`get_config`.

        >>> layerzoo.Embedder.build_from_config({"model": "toy/next-word"}).width
        3
        """
        return cls(**config)

    def is_legacy(self) -> bool:
        """Return False: Chroma can store the configuration.

        >>> layerzoo.Embedder("toy/next-word").is_legacy()
        False
        """
        return False

    def default_space(self) -> Literal["cosine"]:
        """Return the distance by which Chroma compares the vectors.

        >>> layerzoo.Embedder("toy/next-word").default_space()
        'cosine'
        """
        return "cosine"

    def supported_spaces(self) -> list[str]:
        """Return the distances that Chroma may use.

        >>> layerzoo.Embedder("toy/next-word").supported_spaces()
        ['cosine', 'l2', 'ip']
        """
        return ["cosine", "l2", "ip"]

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Refuse another model for a collection that has vectors of this one.

        Args:
            old_config: the stored configuration.
            new_config: the requested one.
        Raises: UsageError if the vectors would differ.

        >>> layerzoo.Embedder("toy/next-word").validate_config_update({"model": "a"}, {"model": "a", "batch_size": 2})
        """
        changed = [
            name for name in ("model", "layer", "pool", "weights") if old_config.get(name) != new_config.get(name)
        ]
        if changed:
            raise UsageError(f"the vectors of this collection were made with another {', '.join(changed)}")


def _listed(inputs: Any) -> Any:
    """Return the values of an array or column of texts as a list; other inputs are returned as they are."""
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "OUS":
        return inputs.tolist()
    return list(inputs) if isinstance(inputs, tuple) else inputs
