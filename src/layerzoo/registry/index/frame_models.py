"""Image models as video models, ``NAMESPACE/ID``: each sampled frame of a video goes through the image model.

A plugin offers them with the key ``frames``. No file declares them and no list shows them; they follow from the id of
the image model. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerzoo.errors import UnknownModelError
from layerzoo.registry.index.plugins import Manifests
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.visibility import covers
from layerzoo.spec import ModelSpec

FRAMES = 16
"""The number of frames that are sampled from a video, where the caller does not choose."""


@dataclass(frozen=True, slots=True)
class FrameModel:
    """An image model as a video model."""

    id: str
    base: str
    """The id of the image model, as it was written: it may be an alias, or short."""
    builder: str
    distribution: str
    """The distribution of the plugin of the namespace."""

    def declared(self, base: ModelSpec) -> dict[str, Any]:
        """Return the declaration in the form of ``ModelSpec.to_dict``, without inherited values.

        Args:
            base: the image model.
        Raises: UnknownModelError if the model is not for images.
        """
        if base.modality != "vision":
            is_video = base.modality == "video"
            advice = f"Next: {base.id}, which takes videos itself" if is_video else "All: zoo list --modality vision"
            raise UnknownModelError(
                f"there is no model '{self.id}': only image models run on the frames of a video, and {base.id} takes "
                f"{base.modality}. {advice}",
                asked=self.id,
                nearest=(base.id,) if is_video else (),
            )
        return {
            "id": f"{self.id.partition('/')[0]}/{base.id}",
            "modality": "video",
            "builder": self.builder,
            "base": base.id,
            "preprocess": {"kind": "video", "frames": FRAMES},
            "summary": f"Frames of a video, each through {base.id}",
        }


class FrameModels:
    """Looks up image models as video models."""

    def __init__(self, reader: IndexReader, manifests: Manifests) -> None:
        self._reader = reader
        self._manifests = manifests

    def named(self, model: str) -> FrameModel | None:
        """Return the model of an id; None if its namespace offers none, or the user has disabled the model."""
        namespace, _, base = model.partition("/")
        manifest = self._manifests.named(namespace) if base else None
        if manifest is None or manifest.namespace != namespace or not manifest.is_usable:
            return None
        if (builder := self._manifests.frames(manifest)) is None or base.startswith(f"{namespace}/"):
            return None
        if any(covers(entry, model) for entry in self._reader.disabled()):
            return None
        return FrameModel(model, base, builder, manifest.distribution)

    def id_for(self, base: str) -> str | None:
        """Return the id of an image model as a video model; None if no installed plugin offers it.

        Args:
            base: the id of the image model.
        """
        namespaces = sorted({installed.namespace for installed in self._reader.environment.installed})
        names = (f"{namespace}/{base}" for namespace in namespaces)
        return next((name for name in names if self.named(name) is not None), None)
