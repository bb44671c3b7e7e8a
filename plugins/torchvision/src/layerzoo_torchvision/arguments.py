"""The arguments of a declaration: the architecture, its weights, and what its builder in torchvision takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torchvision import __version__, models
from torchvision.models import WeightsEnum

from layerzoo.authoring import nearest, nearest_hint
from layerzoo.errors import OutsideRepositoryError, RepositoryError

_OF_WEIGHTS = ("weights", "weights_backbone", "pretrained", "pretrained_backbone", "progress")
"""Arguments of torchvision's builders that load weights."""
_LONGEST = 200


@dataclass(frozen=True)
class Arguments:
    """An architecture of torchvision, with the weights for which it is built."""

    name: str
    """The name of the architecture."""
    weights: WeightsEnum | None = None
    """The weights whose class names, input size and normalization the network has; None for a network without them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of the builder."""

    @classmethod
    def of(cls, model: str, args: Mapping[str, Any]) -> Arguments:
        """Read the `args` of a declaration.

        Args:
            model: the id, for messages.
            args: with the architecture as ``name``, or with its weights as in ``resnet50.IMAGENET1K_V2``.
        Raises: RepositoryError for an unknown name, OutsideRepositoryError for arguments with which torchvision would
            load weights from elsewhere than layerzoo does.
        """
        options = dict(args)
        full_name = options.pop("name", None)
        if not isinstance(full_name, str):
            raise RepositoryError(
                f"{model}: its `args` have no `name` of an architecture of torchvision: {full_name!r}"
            )
        for name in _OF_WEIGHTS:
            if options.get(name) not in (None, False):
                raise OutsideRepositoryError(
                    f"{model}: its argument `{name}` is {str(options[name])[:_LONGEST]}, and weights are what "
                    "`weights` declares, whose digest is known. Next: declare them with `weights: file:PATH`, or name "
                    "them, as in `args: {name: resnet50.IMAGENET1K_V2}`",
                    reference=str(options[name])[:_LONGEST],
                )
            options.pop(name, None)
        name, dot, tag = full_name.partition(".")
        if name not in architectures():
            close = nearest(name[:_LONGEST], architectures())
            raise RepositoryError(
                f"{model}: torchvision {__version__} has no architecture '{name[:_LONGEST]}'. {nearest_hint(close)}"
                "All: zoo list --plugin torchvision"
            )
        weights = {member.name: member for member in weights_of(name)}
        if dot and tag not in weights:
            raise RepositoryError(
                f"{model}: torchvision {__version__} has no weights '{tag[:_LONGEST]}' of {name}. It has: "
                f"{', '.join(weights)}"
            )
        return cls(name, weights.get(tag), options)

    @property
    def described_by(self) -> WeightsEnum:
        """The weights whose preprocessing applies: the given ones, else the default of the architecture."""
        return self.weights or weights_of(self.name)[0]

    @property
    def kind(self) -> str:
        """The task of the architecture: classification, segmentation, detection, video, optical_flow, quantization."""
        _, _, module = models.get_model_builder(self.name).__module__.partition("torchvision.models.")
        return module.partition(".")[0] if "." in module else "classification"

    @property
    def family(self) -> str:
        """The path of torchvision's model file, such as ``resnet`` and ``video.resnet``."""
        return str(models.get_model_builder(self.name).__module__).removeprefix("torchvision.models.")


@cache
def architectures() -> tuple[str, ...]:
    """Return the names of all architectures of torchvision."""
    return tuple(models.list_models())


def weights_of(architecture: str) -> list[WeightsEnum]:
    """Return all weights of an architecture, the default first."""
    members = models.get_model_weights(architecture)
    return sorted(members, key=lambda member: member is not members.DEFAULT)
