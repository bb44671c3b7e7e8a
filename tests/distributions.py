"""Build the project's distributions, and install them into separate environments."""

from __future__ import annotations

import email
import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
CORE = "layerzoo"
FOLDERS = sorted(path.parent for path in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")))


class Wheel(NamedTuple):
    """A built distribution. files: name → content; metadata: its METADATA."""

    folder: Path
    path: Path
    files: dict[str, bytes]
    metadata: Message

    @property
    def name(self) -> str:
        return str(self.metadata["Name"])

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    @property
    def requires(self) -> list[Requirement]:
        return [Requirement(text) for text in self.metadata.get_all("Requires-Dist", ())]

    def file(self, ending: str) -> bytes:
        """Return the content of the only file with this ending of its name."""
        (content,) = (content for name, content in self.files.items() if name.endswith(ending))
        return content


class Installation(NamedTuple):
    """A Python environment with installed packages, and a working directory.

    environment: variables that hide every other installation and the files of the user.
    """

    python: Path
    home: Path
    environment: dict[str, str]

    def run(self, command: str | Sequence[str | Path]) -> tuple[int, str]:
        """Run a command, a string through the shell. Returns: exit code, and stdout and stderr together."""
        done = subprocess.run(
            command, shell=isinstance(command, str), cwd=self.home, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        )  # fmt: skip
        return done.returncode, done.stdout

    def zoo(self, *arguments: str) -> tuple[int, str]:
        """Run ``zoo`` with arguments."""
        return self.run([self.python.parent / "zoo", *arguments])

    def program(self, text: str) -> str:
        """Run a Python program, which must succeed. Returns: its output."""
        code, printed = self.run([self.python, "-c", text])
        assert code == 0, printed
        return printed.strip()


def build(folder: Path, into: Path, *options: str) -> Wheel:
    """Build a project as ``make dist`` does. options: ``--wheel``; or none, for an sdist and a wheel built from it."""
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", into, folder]
    subprocess.run(command, check=True, capture_output=True)
    name = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"].replace("-", "_")
    (path,) = into.glob(f"{name}-*.whl")
    return open_wheel(folder, path)


def open_wheel(folder: Path, path: Path) -> Wheel:
    """Read a wheel. folder: the project that it was built from."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = (content for name, content in files.items() if name.endswith(".dist-info/METADATA"))
    return Wheel(folder, path, files, email.message_from_bytes(metadata))


def empty_installation(folder: Path) -> Installation:
    """Create an empty environment without pip. The pip of this Python installs into it, which saves seconds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (folder / "home").mkdir()
    python = folder / "env" / Path(sys.executable).relative_to(sys.prefix)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("LAYERZOO", "PIP", "PYTHON"))
    }
    changed = {
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "LAYERZOO_CACHE": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "80",
    }
    return Installation(python, folder / "home", {**inherited, **changed})


def install(into: Installation, *arguments: str | Path, environment: Mapping[str, str] = os.environ) -> None:
    """Run ``pip install`` for another environment."""
    command = [sys.executable, "-m", "pip", "--python", into.python, "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr


def install_with_links(folder: Path, requirement: str, wheels: Mapping[str, Wheel]) -> Installation:
    """Install a requirement such as ``layerzoo[starter]`` from wheels, with links to the libraries of this environment.

    Links avoid copying 6 GB. Only the libraries that the wheels require are linked, so an undeclared one is missing.

    wheels: the project's wheels by name.
    """
    installation = empty_installation(folder)
    site_packages = Path(installation.program("import sysconfig; print(sysconfig.get_path('purelib'))"))
    for entry in {entry for name in _libraries(requirement, wheels) for entry in _entries(name)}:
        (site_packages / entry.name).symlink_to(entry)
    # pip has no other source, so it cannot replace a library through its link.
    sources = {f"--find-links={wheel.path.parent}" for wheel in wheels.values()}
    no_other_source = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    install(installation, "--no-index", *sources, requirement, environment={**os.environ, **no_other_source})
    return installation


def _libraries(required: str, wheels: Mapping[str, Wheel]) -> set[str]:
    """Return the names of all distributions that a requirement depends on, except the wheels."""
    pending, seen = [Requirement(required)], set()
    while pending:
        requirement = pending.pop()
        key = (requirement.name, frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            pending += _dependencies(requirement, wheels)
    return {name for name, _ in seen if name not in wheels}


def _dependencies(of: Requirement, wheels: Mapping[str, Wheel]) -> Iterator[Requirement]:
    wheel = wheels.get(of.name)
    texts = importlib.metadata.requires(of.name) or () if wheel is None else wheel.metadata.get_all("Requires-Dist", ())
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *of.extras)):
            yield requirement


def _entries(name: str) -> set[Path]:
    """Return the top-level entries of a distribution in the site-packages of this environment."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    return {Path(str(distribution.locate_file(top))) for top in tops}
