"""Write a network as a checkpoint of its model, with the registry.yaml that declares it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor, nn

from layerzoo.disk import atomic_path
from layerzoo.errors import NotFoundError, OutputError, RegistryError, UsageError
from layerzoo.registry import registry
from layerzoo.runtime.checkpoint import saved_metadata
from layerzoo.runtime.loading_logic import has_loading_logic
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.pickled import encoded
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.runtime.stored import tensor_data
from layerzoo.runtime.trace import checkpointed_tensors
from layerzoo.spec import ModelSpec
from layerzoo.weights.conventions import file_conventions
from layerzoo.weights.files import is_companion
from layerzoo.weights.tensors import write_tensors

CHECKPOINT = "model.safetensors"
_REGISTRY = "registry.yaml"
_OF_CHECKPOINTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}
"""The suffixes of files that are mistaken for folders."""
_PLAIN = re.compile(
    r"[A-Za-z][\w.-]*(?:[/:][\w.][\w./-]*)+|(?!(?:y|n|on|off|yes|no|true|false|null)$)[a-z_]+(?:[-.]\w+)*"
)
"""Matches texts that YAML reads as text without quotes."""


def save(module: CutNetwork, resolved: ResolvedModel, pools: Mapping[str, str], folder: Path) -> Path:
    """Write a cut network into a folder. Arguments, errors: :meth:`layerzoo.Backbone.save`."""
    if folder.suffix in _OF_CHECKPOINTS and not folder.is_dir():
        raise UsageError(
            f"save({str(folder)!r}) would create a folder of that name: it writes a folder with {CHECKPOINT} in it. "
            f"Next: save({str(folder.parent if folder.name == CHECKPOINT else folder.with_suffix(''))!r})"
        )
    target = folder / CHECKPOINT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(module.network, target)
        if (declared := declaration(module, resolved, pools, folder)) is not None:
            _copy_companions(resolved, folder)
            with atomic_path(folder / _REGISTRY) as path:
                path.write_text(declared, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}", path=folder) from error
    return target


def write_checkpoint(network: nn.Module, path: Path) -> None:
    """Write the tensors of a network's state dict, under its own names, as safetensors.

    Raises: OSError, WeightsError.
    """
    state = network.state_dict() if has_loading_logic(network) else checkpointed_tensors(network)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    objects = {name: encoded(value) for name, value in state.items() if not isinstance(value, Tensor)}
    versions = getattr(state, "_metadata", {})
    serialized = {
        name: tensor_data(tensor.detach().cpu().contiguous()) for name, tensor in {**tensors, **objects}.items()
    }
    with atomic_path(path) as temporary:
        write_tensors(temporary, serialized, saved_metadata(objects, versions))


def declaration(module: CutNetwork, resolved: ResolvedModel, pools: Mapping[str, str], folder: Path) -> str | None:
    """Return the registry.yaml of a saved network; None for a network that no builder makes."""
    spec = resolved.spec
    if resolved.facts_file is None:
        return None
    declared = resolved.facts_file.declared
    fields: dict[str, Any] = {"modality": spec.modality}
    fields |= {"base": spec.id} if _is_known(declared) else _standalone_fields(declared)
    fields["weights"] = f"file:./{'' if _companions(resolved) else CHECKPOINT}"
    fields["default"] = {"layer": module.cut.stop, "pool": pools[module.cut.stop]}
    lines = [f"    {name}: {_flow(value)}" for name, value in fields.items()]
    return "\n".join(["layerzoo: 1", "models:", f"  mine/{_name(folder)}:", *lines, ""])


def _flow(value: Any) -> str:
    """Write a value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _name(folder: Path) -> str:
    """Return the last part of a model's id, from the name of its folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.absolute().name).strip("-._") or "saved"


def _is_known(declared: ModelSpec) -> bool:
    """Return whether a registry declares the model as it was used."""
    try:
        return registry().model(declared.id) == declared
    except (NotFoundError, RegistryError):
        return False


def _standalone_fields(declared: ModelSpec) -> dict[str, Any]:
    """Return the keys of a declaration that does not depend on another one."""
    fields = declared.to_dict()
    return {name: fields[name] for name in ("builder", "args", "base", "preprocess", "license") if name in fields}


def _companions(resolved: ResolvedModel) -> list[str]:
    """Return the files that the model is built from in addition to its checkpoint: a configuration, a tokenizer."""
    conventions = file_conventions()
    return [
        name for name in resolved.files if is_companion(PurePosixPath(name).name, 0, conventions) and name != _REGISTRY
    ]


def _copy_companions(resolved: ResolvedModel, folder: Path) -> None:
    for name in _companions(resolved):
        source = resolved.files[name]
        (folder / name).parent.mkdir(exist_ok=True)
        if source.resolve() != (folder / name).resolve():
            shutil.copyfile(source, folder / name)
