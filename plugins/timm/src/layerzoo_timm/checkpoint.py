"""Convert checkpoint keys to the names of timm's network, by recording the copies that timm makes while loading
them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerzoo.authoring import WithoutInitialisation, refuse_scaled

_MISFIT = "Error(s) in loading state_dict"
"""How torch begins its message for names and shapes that do not fit."""

Create = Callable[..., nn.Module]
"""``timm.create_model`` for one architecture; it is called with ``pretrained`` and ``pretrained_cfg_overlay``."""


@dataclass(frozen=True, slots=True)
class SavedShapes:
    """The state dict of an architecture, without values.

    network: name of its class. shapes: by name.
    """

    network: str
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, network: nn.Module) -> SavedShapes:
        saved = network.state_dict(keep_vars=True)
        return cls(type(network).__name__, {name: tuple(tensor.shape) for name, tensor in saved.items()})

    def fit(self, tensors: Mapping[str, Tensor]) -> bool:
        """Return whether a checkpoint has the names and shapes of the network's state dict."""
        return self.shapes.keys() == tensors.keys() and all(
            self.shapes[name] == tensors[name].shape for name in tensors
        )


def map_checkpoint(
    create: Create, tensors: Mapping[str, Tensor], saved: SavedShapes | None = None
) -> Mapping[str, Tensor]:
    """Return the tensors that timm would load, by the names of the network's parameters.

    timm's own filters rename, reshape, resize and exclude tensors. A tensor that they do not change is returned as the
    same object. A checkpoint that does not fit is returned unchanged; the caller reports the keys that a cut needs.

    Args:
        create: ``timm.create_model`` for the architecture.
        tensors: by checkpoint key, on one device. On the meta device no value is read.
        saved: the state dict of a network that was created so, without values; None: one is created for it.
    Raises: WeightsError for quantised tensors, whose scales timm ignores; any error of a filter of timm, such as that
        of a filter that needs values on the meta device.
    """
    state_dict: dict[str, Tensor] = clean_state_dict(dict(tensors))
    with torch.device(next((tensor.device for tensor in state_dict.values()), "cpu")):
        saved = saved or SavedShapes.of(_watched(create, pretrained=False)[0])
        refuse_scaled(state_dict, saved.shapes.keys(), model=saved.network, label="the checkpoint")
        if not state_dict or saved.fit(state_dict):
            return state_dict
        _, copies_before = _watched(create, pretrained=False)
        try:
            _, copies_after = _watched(create, pretrained=True, pretrained_cfg_overlay={"state_dict": state_dict})
        except RuntimeError as error:
            if str(error).startswith(_MISFIT):
                return state_dict
            raise
    return {name: copies[-1] for name, copies in copies_after.items() if len(copies) > len(copies_before.get(name, ()))}


def _watched(create: Create, **arguments: Any) -> tuple[nn.Module, dict[str, list[Tensor]]]:
    """Return a network, and the values that were copied into each of its tensors while it was built, by name.

    Initialisation is skipped: its values are not used, and on the meta device it would take most of the time.
    """
    with WithoutInitialisation(), _Watch() as watch:
        network = create(**arguments)
    own = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    return network, {name: watch.sources[id(tensor)] for name, tensor in own if id(tensor) in watch.sources}


class _Watch(TorchFunctionMode):
    """Records which values are copied into which tensor, and copies nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[int, list[Tensor]] = defaultdict(list)
        self._targets: list[Tensor] = []  # kept alive, so that no other tensor gets the id of a recorded one

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.copy_:
            target, source = args[0], args[1]
            self.sources[id(target)].append(source)
            self._targets.append(target)
            return target
        if func is Tensor.__deepcopy__:  # timm copies the configuration that holds the checkpoint
            return args[0]
        return func(*args, **(kwargs or {}))
