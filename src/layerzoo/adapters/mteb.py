"""A model as an encoder of MTEB: ``mteb.evaluate(MtebEncoder("starter/minilm-l6", layer="block.3"), tasks)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import mteb
import numpy as np
from mteb.models import ModelMeta
from mteb.types import PromptType
from numpy.typing import NDArray

from layerzoo.adapters.embedder import Embedder
from layerzoo.errors import UsageError
from layerzoo.media.audio_input import Audio

if TYPE_CHECKING:
    from layerzoo.spec import Modality

_COLUMNS: dict[Modality, str] = {"text": "text", "vision": "image", "audio": "audio", "video": "video"}
"""The key of a batch of MTEB for each modality."""


class MtebEncoder:
    """An encoder of MTEB (``mteb.EncoderProtocol``) for one layer of a model, of any modality."""

    def __init__(
        self, model_name: str, revision: str | None = None, *, device: str | None = None, **options: Any
    ) -> None:
        """Load a model.

        Args:
            model_name: its id.
            revision: the branch, tag or commit of a repository of the hub, as ``@REVISION`` in its id.
            device: the device; None for the CPU.
            options: ``layer``, ``pool``, ``normalize`` and the other arguments of :class:`layerzoo.Embedder`.
        Raises: as :class:`layerzoo.Embedder`.
        """
        model = f"{model_name}@{revision}" if revision else model_name
        self._embedder = Embedder(model, device=device or "cpu", **options)
        self._revision = revision
        self._layer = ", ".join(layer.name for layer in self._embedder.backbone.layers)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **options: Any,
    ) -> NDArray[np.float32]:
        """Return the vectors of all inputs, (n, width) float32.

        Args:
            inputs: the batches of a DataLoader of MTEB.
            task_metadata: the metadata of the task, which MTEB passes; unused.
            hf_split: the split of the data; unused.
            hf_subset: the subset of the data; unused.
            prompt_type: query or document, which selects the prompt of a model that has some.
            options: ``batch_size``; others are ignored.
        Raises: UsageError if the task has no inputs of the model's modality.
        """
        prompt = None
        if prompt_type is not None:
            prompt = self._embedder.prompt_for("query" if prompt_type == PromptType.query else "document")
        batches = [
            self._embedder.encode(self._inputs(batch), prompt=prompt, batch_size=options.get("batch_size"))
            for batch in inputs
        ]
        return np.concatenate(batches) if batches else np.empty((0, self._embedder.width), dtype=np.float32)

    def _inputs(self, batch: Mapping[str, Any]) -> list[Any]:
        modality = self._embedder.backbone.spec.modality
        column = _COLUMNS[modality]
        if column not in batch:
            raise UsageError(
                f"{self._embedder.backbone.spec.id} takes {modality}, and this task has {', '.join(sorted(batch))}"
            )
        if modality == "audio":
            return [_audio(clip) for clip in batch[column]]
        if modality == "video":
            return [np.moveaxis(np.asarray(frames), -3, -1) if _is_nchw(frames) else frames for frames in batch[column]]
        return list(batch[column])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of all pairs, (n1, n2).

        Args:
            embeddings1: (n1, width).
            embeddings2: (n2, width).
        """
        return mteb.similarity_functions.cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of each pair, (n,).

        Args:
            embeddings1: (n, width).
            embeddings2: (n, width).
        """
        return mteb.similarity_functions.pairwise_cos_sim(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Any:
        """The metadata of the model. Its name states the layer, so that results of several layers are kept apart."""
        spec = self._embedder.backbone.spec
        known = {
            "name": f"layerzoo/{spec.id.replace('/', '__')}__{self._layer}",
            "revision": self._revision or _digest(self._embedder),
            "n_parameters": spec.params,
            "embed_dim": self._embedder.width,
            "license": None,
            "framework": ["PyTorch"],
            "modalities": [_COLUMNS[spec.modality]],
            "similarity_fn_name": "cosine",
        }
        return ModelMeta.create_empty(known)


def _digest(embedder: Embedder) -> str:
    """Return a short digest of what the vectors depend on."""
    import hashlib
    import json

    text = json.dumps(embedder.backbone.provenance, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _audio(clip: Any) -> Any:
    if isinstance(clip, Mapping):
        return Audio(np.asarray(clip["array"], dtype=np.float32), int(clip["sampling_rate"]))
    return clip


def _is_nchw(frames: Any) -> bool:
    shape: tuple[int, ...] = tuple(getattr(frames, "shape", ()))
    return len(shape) == 4 and shape[-3] == 3 and shape[-1] != 3
