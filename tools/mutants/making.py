"""Write a plugin into a folder: a correct one, or one that is wrong in one way."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from layerzoo.conformance.codes import Tier

CORRECT = Path(__file__).parent / "correct"
Base = Literal["vision", "transform", "text", "audio", "library"]
"""``library``: a network of timm, whose plugin has to be installed. The others contain a network."""
_NETWORKS = {"vision": "VisionNetwork", "transform": "PixelNetwork", "text": "TextNetwork", "audio": "AudioNetwork"}
_PROJECT = """
[project]
name = "acme-zoo"
version = "1.0"

[project.entry-points.layerzoo]
acme = "acme_zoo"
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a file: the old text, which occurs once, becomes the new one."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A plugin that is wrong in one way."""

    name: str
    """The fault, in a few words."""
    code: str
    """The check that finds it."""
    base: Base
    """The correct plugin that it is made from."""
    edits: tuple[Edit, ...] = ()
    weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    """Changes the tensors of the checkpoint before its digest is declared."""
    tier: Tier | None = None
    """The tier in which it shows; None: that of the check."""
    finish: Callable[[Path], None] | None = None
    """Changes the finished package, a folder."""


def write_plugin(base: Base, folder: Path, mutant: Mutant | None = None) -> Path:
    """Write a plugin.

    Args:
        base: the correct plugin.
        folder: a new folder for the project.
        mutant: its fault; None: a correct plugin.
    Returns: the folder of its package.
    """
    package = folder / "src" / "acme_zoo"
    shutil.copytree(CORRECT / base, package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    registry = package / "registry.yaml"
    if "SHA256" in registry.read_text(encoding="utf-8"):
        tensors = _trained(package, base)
        save_file(
            tensors if mutant is None or mutant.weights is None else mutant.weights(tensors),
            package / "weights.safetensors",
        )
        _declare_digest(package)
    for edit in mutant.edits if mutant else ():
        path = folder / edit.file if edit.file == "pyproject.toml" else package / edit.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text.count(edit.old) != 1 and edit.old:
            raise ValueError(f"{mutant and mutant.name}: {edit.file} has {text.count(edit.old)} times {edit.old!r}")
        path.write_text(text.replace(edit.old, edit.new) if edit.old else text + edit.new, encoding="utf-8")
    if mutant is not None and mutant.finish is not None:
        mutant.finish(package)
    return package


def _declare_digest(package: Path) -> None:
    registry = package / "registry.yaml"
    digest = hashlib.sha256((package / "weights.safetensors").read_bytes()).hexdigest()
    registry.write_text(registry.read_text(encoding="utf-8").replace("SHA256", digest), encoding="utf-8")


def initial_tensors(package: Path, base: Base, seed: int = 3) -> dict[str, Tensor]:
    """Return the tensors of the network as its constructor makes them.

    Args:
        package: the folder of the plugin.
        base: the correct plugin that it is made from.
        seed: of the random numbers.
    """
    name = f"tools_mutants_{base}_network"
    spec = importlib.util.spec_from_file_location(name, package / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network: nn.Module = getattr(module, _NETWORKS[base])()
    finally:
        del sys.modules[name]
    return {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}


def _trained(package: Path, base: Base) -> dict[str, Tensor]:
    """Return tensors that are no longer distributed as at the start, as after a training."""
    return {key: 1.4 * tensor + 0.05 * tensor.abs() + 0.01 for key, tensor in initial_tensors(package, base).items()}
