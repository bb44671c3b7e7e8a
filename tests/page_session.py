"""Run a page as its reader would: write its files, run its commands and code in order, and compare the output.

A block is a file if the text before it ends with the path of the file, as in "Create `train.py`:". Blocks of
``console`` are commands with the expected output. Blocks of ``python`` are programs with the expected values in
comments, which share their variables. All other blocks are illustrations.
"""

from __future__ import annotations

import re
import shutil
import site
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.distributions import Installation, empty_installation
from tests.page_program import __file__ as page_program
from tests.readme import page_commands, prints

_BLOCK = re.compile(r"(?P<text>[^\n]*)\n\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`([^`\s]+)`:$")


class Step(NamedTuple):
    """A block of a page. path: the file that it is the content of; None for commands and programs."""

    line: int
    language: str
    code: str
    path: str | None


def steps(page: str) -> Iterator[Step]:
    """Yield the blocks of a page that do something, in order."""
    for match in _BLOCK.finditer(page):
        path = _PATH.search(match["text"])
        line = page.count("\n", 0, match.start("code")) + 1
        if path or match["language"] in ("console", "python"):
            yield Step(line, match["language"], match["code"], path[1] if path else None)


def run_session(page: Path, installation: Installation, without: Sequence[str] = ()) -> None:
    """Follow a page in the working directory of an installation.

    without: beginnings of commands to leave out.
    Raises: AssertionError for each command that fails or prints something else, and each value that differs.
    """
    programs = ""
    for step in steps(page.read_text(encoding="utf-8")):
        if step.path is not None:
            target = installation.home / step.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(step.code, encoding="utf-8")
        elif step.language == "python":
            programs += f"```python\n{step.code}```\n"
            program = installation.home.parent / page.name
            program.write_text(programs, encoding="utf-8")
            code, printed = installation.run([installation.python, "-P", page_program, program])
            assert code == 0, f"{page.name}:{step.line}: {printed}"
        else:
            _run_commands(page, step, installation, without)


def _run_commands(page: Path, step: Step, installation: Installation, without: Sequence[str]) -> None:
    for command in page_commands(f"```console\n{step.code}```\n", set_up=()):
        if command.text.startswith(tuple(without)):
            continue
        code, printed = installation.run(command.text)
        where = f"{page.name}:{step.line + command.line - 2}: {command.text}"
        assert code == 0, f"{where}: exit code {code}\n{printed}"
        assert not command.output or prints(command.output, printed), f"{where}\n{printed}"


def add_commands(installation: Installation) -> None:
    """Add ``zoo``, and a ``pip`` that installs local projects with the build tools of this environment."""
    pip = f'"{sys.executable}" -m pip --python "{installation.python}"'
    options = "--no-deps --no-index --no-build-isolation"
    scripts = {
        "zoo": f'exec "{installation.python}" -m layerzoo "$@"',
        "pip": f'command="$1"; shift; exec {pip} "$command" {options} "$@"',
    }
    for name, line in scripts.items():
        script = installation.python.parent / name
        script.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        script.chmod(0o755)


def session(folder: Path, index: Path) -> Installation:
    """Create an environment that imports the packages of this one, with the commands of :func:`add_commands`.

    index: the index of all installed plugins, which is copied instead of compiled.
    """
    shutil.copytree(index, folder / "cache")
    installation = empty_installation(folder)
    packages = Path(installation.program("import sysconfig; print(sysconfig.get_path('purelib'))"))
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (packages / "test_environment.pth").write_text("".join(lines), encoding="utf-8")
    add_commands(installation)
    return installation
