"""Small networks whose modules have loading logic, in each of the ways that torch offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm


class Plain(nn.Module):
    """A body of two convolutions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = self.make_body()
        self.second = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 5, 1)

    def make_body(self) -> nn.Module:
        return nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x)))


class RenamingPreHook(Plain):
    """A public pre-hook renames keys."""

    def __init__(self) -> None:
        super().__init__()
        self.body.register_load_state_dict_pre_hook(self.rename)

    @staticmethod
    def rename(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in ("weight", "bias"):
            if f"{prefix}old_{name}" in state:
                state[prefix + name] = state.pop(f"{prefix}old_{name}")


class ComputingPreHook(Plain):
    """A private pre-hook on the whole network computes a tensor from two others."""

    def __init__(self) -> None:
        super().__init__()
        self._register_load_state_dict_pre_hook(self.join)

    @staticmethod
    def join(state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if f"{prefix}body.gain" in state:
            state[f"{prefix}body.weight"] = state.pop(f"{prefix}body.direction") * state.pop(f"{prefix}body.gain")


class ScalingPreHook(Plain):
    """A pre-hook changes a tensor of the right name in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(lambda module, state, prefix, *rest: state[f"{prefix}body.bias"].mul_(3))


class NumpyPreHook(Plain):
    """A pre-hook computes with numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(self.double)

    @staticmethod
    def double(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        state[f"{prefix}body.bias"] = torch.from_numpy(state[f"{prefix}body.bias"].numpy() * 2)


class DefaultPreHook(Plain):
    """A pre-hook adds the tensors that older checkpoints do not have: the values of the constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4, 1, 1), 0.75))
        self.register_load_state_dict_pre_hook(self.complete)

    def complete(self, module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        state.setdefault(f"{prefix}scale", self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x) * 1.0) * self.scale)


class ForgivingPostHook(Plain):
    """A post-hook declares that a tensor may be missing: it keeps the value of the constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4, 1, 1), 0.25))
        self.register_load_state_dict_post_hook(self.forgive)

    @staticmethod
    def forgive(module: nn.Module, incompatible: Any) -> None:
        incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if key != "scale"]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x * self.scale.mean())))


class CachingPostHook(Plain):
    """A post-hook computes a buffer that is not saved from parameters, one of them after the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.zeros(()), persistent=False)
        self.register_load_state_dict_post_hook(self.cache)

    @staticmethod
    def cache(module: Any, incompatible: Any) -> None:
        module.gain = module.head.weight.detach().norm() + module.body.weight.detach().max()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x * self.gain)))


class AliasPostHook(Plain):
    """A post-hook keeps a parameter after the cut under another name, without an operation on it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = [torch.ones(5, 4, 1, 1)]
        self.register_load_state_dict_post_hook(self.keep)

    @staticmethod
    def keep(module: Any, incompatible: Any) -> None:
        module.kept[0] = module.head.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x * self.kept[0].abs().sum())))


class _Transposing(nn.Conv2d):
    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"].flip(0)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class OwnLoadFrom(Plain):
    """A module overrides ``_load_from_state_dict``."""

    def make_body(self) -> nn.Module:
        return _Transposing(3, 4, 1)


class _Versioned(nn.Conv2d):
    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, metadata: Mapping[str, Any], *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)
        if (metadata.get("version") or 1) < 2:
            with torch.no_grad():
                self.weight.neg_()


class Versioned(Plain):
    """A module reads the version in a state dict."""

    def make_body(self) -> nn.Module:
        return _Versioned(3, 4, 1)


class _VersionRequired(nn.Conv2d):
    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, metadata: Mapping[str, Any], *rest: Any) -> None:
        if metadata.get("version") not in (1, 2):
            raise ValueError(f"version should be set to 1 or 2 instead of {metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)


class VersionRequired(Plain):
    """A module rejects a state dict without its version, as torchvision's MNASNet does."""

    def make_body(self) -> nn.Module:
        return _VersionRequired(3, 4, 1)


class _Resizing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(2))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.table = state_dict[f"{prefix}table"]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, 2, 1, 1)[:, :4] * self.table.sum()


class Resizing(Plain):
    """A module accepts a buffer of another size than it was built with."""

    def make_body(self) -> nn.Module:
        return _Resizing()


class OwnLoad(Plain):
    """The network overrides ``load_state_dict``, without an argument ``strict``."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any:  # type: ignore[override]
        return super().load_state_dict({name.removeprefix("net/"): 2 * value for name, value in state_dict.items()})


class _Scaled(nn.Conv2d):
    scale: float = 1.0

    def get_extra_state(self) -> Any:
        return {"scale": self.scale, "shape": (1, 2)}

    def set_extra_state(self, state: Any) -> None:
        self.scale = state["scale"] * len(state["shape"])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class ExtraState(Plain):
    """A module has an extra state that is not a tensor."""

    def make_body(self) -> nn.Module:
        return _Scaled(3, 4, 1)


class _Shifted(nn.Conv2d):
    shift: Any = 0.0

    def get_extra_state(self) -> Any:
        return torch.full((4, 1, 1), 0.5)

    def set_extra_state(self, state: Any) -> None:
        self.shift = state

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift


class TensorExtraState(Plain):
    """A module has a tensor as its extra state."""

    def make_body(self) -> nn.Module:
        return _Shifted(3, 4, 1)


class WeightNorm(Plain):
    """Weight norm as a parametrization, which renames ``weight_g`` and ``weight_v`` of older checkpoints."""

    def make_body(self) -> nn.Module:
        return parametrizations.weight_norm(nn.Conv2d(3, 4, 1))


class SpectralNorm(Plain):
    """Spectral norm, whose pre-hook completes checkpoints of its first version."""

    def make_body(self) -> nn.Module:
        return spectral_norm(nn.Conv2d(3, 4, 1))


class RenamedWhenSaved(Plain):
    """A hook renames keys when they are saved, and another when they are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_state_dict_post_hook(self.save)
        self.register_load_state_dict_pre_hook(self.restore)

    @staticmethod
    def save(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
        state[f"{prefix}trunk.weight"] = state.pop(f"{prefix}body.weight")

    @staticmethod
    def restore(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        state[f"{prefix}body.weight"] = state.pop(f"{prefix}trunk.weight")


class TiedByPostHook(Plain):
    """A post-hook ties two parameters after they were loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(self.tie)

    @staticmethod
    def tie(module: Any, incompatible: Any) -> None:
        module.body.bias = module.second.bias


class Tied(Plain):
    """A parameter has two names, and no module has loading logic."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 3, 1)
        self.second.weight = nn.Parameter(self.body.weight.detach().transpose(0, 1).clone())
        self.third = nn.Conv2d(4, 3, 1)
        self.third.weight = self.second.weight
        self.head = nn.Conv2d(3, 5, 1)


class SharedModule(Plain):
    """A module has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.alias = self.body


class Sparse(Plain):
    """The constructor creates sparse tensors: an attribute, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.arange(16.0).reshape(4, 4).remainder(3).to_sparse()
        self.register_buffer("rows", torch.eye(4).mul(2).to_sparse_csr(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.body(x).transpose(0, 1).flatten(1)
        mixed = torch.sparse.mm(self.rows, torch.sparse.mm(self.mix, flat))
        return self.head(self.second(mixed.unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1)))


def old_names(state: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("body.", "body.old_"): value for name, value in state.items()}


def in_factors(state: dict[str, Any]) -> dict[str, Any]:
    weight = state.pop("body.weight")
    return state | {"body.direction": weight / 4, "body.gain": torch.tensor(4.0)}


def old_weight_norm(state: dict[str, Any]) -> dict[str, Any]:
    names = {"body.parametrizations.weight.original0": "body.weight_g"}
    names["body.parametrizations.weight.original1"] = "body.weight_v"
    return {names.get(name, name): value for name, value in state.items()}


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {name: value for name, value in state.items() if name not in names}


def as_it_is(state: dict[str, Any]) -> dict[str, Any]:
    return state


CASES: dict[str, tuple[type[Plain], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "plain": (Plain, as_it_is),
    "renaming pre-hook": (RenamingPreHook, old_names),
    "renaming pre-hook, new names": (RenamingPreHook, as_it_is),
    "computing pre-hook": (ComputingPreHook, in_factors),
    "scaling pre-hook": (ScalingPreHook, as_it_is),
    "numpy pre-hook": (NumpyPreHook, as_it_is),
    "default of a pre-hook": (DefaultPreHook, without("scale")),
    "forgiving post-hook": (ForgivingPostHook, without("scale")),
    "caching post-hook": (CachingPostHook, as_it_is),
    "alias of a post-hook": (AliasPostHook, as_it_is),
    "own _load_from_state_dict": (OwnLoadFrom, as_it_is),
    "versioned module": (Versioned, as_it_is),
    "version required": (VersionRequired, as_it_is),
    "resized buffer": (Resizing, lambda state: state | {"body.table": torch.arange(5.0)}),
    "own load_state_dict": (OwnLoad, lambda state: {f"net/{name}": value for name, value in state.items()}),
    "extra state": (ExtraState, lambda state: state | {"body._extra_state": {"scale": 0.5, "shape": (1, 2, 3)}}),
    "tensor as extra state": (TensorExtraState, as_it_is),
    "weight norm": (WeightNorm, as_it_is),
    "weight norm, old names": (WeightNorm, old_weight_norm),
    "spectral norm": (SpectralNorm, as_it_is),
    "renamed when it is saved": (RenamedWhenSaved, as_it_is),
    "tied by a post-hook": (TiedByPostHook, as_it_is),
    "tied, two values": (Tied, lambda state: state | {"second.weight": state["third.weight"] * 2}),
    "tied, the other value": (Tied, lambda state: state | {"third.weight": state["third.weight"] * 2}),
    "sparse attributes": (Sparse, as_it_is),
    "shared module, two values": (SharedModule, lambda state: state | {"body.weight": state["alias.weight"] * 2}),
}
"""A network, and a function that makes a checkpoint of its state dict."""
