"""Rows of the index are compiled again if the code that made them has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import layerzoo
from layerzoo.registry.index import writer
from layerzoo.registry.index.writer import compiler_files, compiler_version

PACKAGE = Path(layerzoo.__file__).parent
UNRELATED = {
    "__init__.py",
    "disk.py",
    "environment.py",
    "local_files.py",
    "lock.py",
    "modalities.py",
    "notices.py",
    "paths.py",
    "printable.py",
    "registry/__init__.py",
    "registry/changes.py",
    "registry/lookup.py",
    "small_files.py",
    "user_folders.py",
}
"""Modules that compiling imports, but that affect neither rows nor diagnostics."""


def test_the_version_covers_every_module_that_compiling_imports() -> None:
    program = (
        "import sys, layerzoo.registry.format.compile, layerzoo.registry.index.writer, layerzoo.registry.index.models\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'layerzoo'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {Path(line).relative_to(PACKAGE).as_posix() for line in done.stdout.splitlines()}
    of_plugins = {name for name in imported if name.startswith("registry/installed/")}
    assert imported - of_plugins - UNRELATED <= compiler_files().keys()


def test_the_files_of_the_version_exist() -> None:
    assert all(Path(path).is_file() for path in compiler_files().values())


@pytest.mark.parametrize("change", ["edit", "new", "rename", "remove"])
def test_each_change_of_a_module_changes_the_version(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in compiler_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(Path(path).read_bytes())
    monkeypatch.setattr(writer, "_PACKAGE", tmp_path)
    compiler_version.cache_clear()
    before = compiler_version()
    module = tmp_path / "registry" / "format" / "schema.py"
    if change == "edit":
        os.utime(module, ns=(1, module.stat().st_mtime_ns + 1))
    elif change == "new":
        (tmp_path / "registry" / "format" / "extra.py").touch()
    elif change == "rename":
        module.rename(module.with_name("rules.py"))
    else:
        module.unlink()
    compiler_version.cache_clear()
    assert compiler_version() != before
    compiler_version.cache_clear()
