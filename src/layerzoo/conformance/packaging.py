"""Find out whether a project's wheel includes a file of its package, without building the wheel."""

from __future__ import annotations

import importlib.metadata
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from layerzoo.registry import PluginManifest
from layerzoo.small_files import read_small

_MAX_BYTES = 1_000_000


def is_left_out(plugin: PluginManifest, file: Path) -> bool:
    """Return whether the wheel of a plugin's project does not include a file of its package.

    Args:
        plugin: False for one that was not installed from a folder.
        file: in its package. One that was installed from the wheel is included, wherever the project is.
    """
    if plugin.project is None or _is_installed(plugin.distribution, file):
        return False
    return is_packaged(Path(plugin.project), file) is False


def _is_installed(distribution: str, file: Path) -> bool:
    """Return whether a distribution lists a file in its RECORD, which names the files that were copied from its wheel.

    Source: PyPA, "Recording installed projects". An editable installation lists no file of the package.
    """
    try:
        metadata = importlib.metadata.distribution(distribution)
        if metadata.read_text("RECORD") is None:
            return False
        listed = [entry for entry in metadata.files or () if entry.name == file.name]
        return file.resolve() in {Path(str(metadata.locate_file(entry))).resolve() for entry in listed}
    except Exception:  # noqa: BLE001 - damaged metadata, and finders of other tools, raise anything
        return False


def is_packaged(project: Path, file: Path) -> bool | None:
    """Return whether the wheel of a project includes a file.

    Args:
        project: the folder with pyproject.toml.
        file: a file in a package of the project.
    Returns: None where the build backend is another than hatchling or setuptools, or is not installed.
    """
    try:
        table = tomllib.loads(read_small(project / "pyproject.toml", _MAX_BYTES).decode())
    except (OSError, ValueError):
        return None
    backend = str(table.get("build-system", {}).get("build-backend", ""))
    if backend.startswith("hatchling"):
        return _by_hatchling(project, file)
    requires = " ".join(map(str, table.get("build-system", {}).get("requires", ())))
    if backend.startswith("setuptools") and "scm" not in requires:  # setuptools_scm includes the files that git tracks
        return _by_setuptools(project, file, table.get("tool", {}).get("setuptools", {}))
    return None


def _by_hatchling(project: Path, file: Path) -> bool | None:
    """Ask hatchling, which also excludes the files that .gitignore lists."""
    try:
        from hatchling.builders.wheel import WheelBuilder

        builder = WheelBuilder(str(project))
        builder.config.default_only_include  # noqa: B018 - reads the configuration
        with builder.config.set_build_data({"artifacts": [], "force_include": {}, "force_include_editable": {}}):
            included = {Path(entry.path).resolve() for entry in builder.recurse_included_files()}
    except Exception:  # noqa: BLE001 - not installed, another version, or an invalid configuration
        return None
    forced = (Path(project, entry).resolve() for entry in builder.config.force_include)
    return file.resolve() in {*included, *forced}


def _by_setuptools(project: Path, file: Path, settings: dict[str, Any]) -> bool | None:
    """Compare with package-data, or with MANIFEST.in where the package includes the files that it lists."""
    package = file.parent
    patterns = settings.get("package-data", {})
    listed = [*patterns.get(package.name, ()), *patterns.get("*", ())]
    if any(fnmatch(file.name, pattern.rpartition("/")[2]) for pattern in listed):
        return True
    if settings.get("include-package-data") is False or not (project / "MANIFEST.in").is_file():
        return False
    manifest = read_small(project / "MANIFEST.in", _MAX_BYTES).decode(errors="replace")
    words = [word for line in manifest.splitlines() for word in line.split()[1:]]
    return any(fnmatch(file.name, word.rpartition("/")[2]) for word in words)
