"""The project's distributions as they are published, and environments of their own to install them into."""

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
        """The content of the only file whose name ends so."""
        (content,) = (content for name, content in self.files.items() if name.endswith(ending))
        return content


class Installation(NamedTuple):
    """A Python with what is installed beside it, and a working directory to use it in.

    environment: variables under which nothing else counts, no file of the user's either.
    """

    python: Path
    home: Path
    environment: dict[str, str]

    def run(self, command: str | Sequence[str | Path]) -> tuple[int, str]:
        """Exit code, and everything that was printed, as a terminal shows it. A text is for the shell."""
        done = subprocess.run(
            command, shell=isinstance(command, str), cwd=self.home, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        )  # fmt: skip
        return done.returncode, done.stdout

    def zoo(self, *arguments: str) -> tuple[int, str]:
        """The same, of the command line."""
        return self.run([self.python.parent / "zoo", *arguments])

    def program(self, text: str) -> str:
        """What a Python program prints. It must end well."""
        code, printed = self.run([self.python, "-c", text])
        assert code == 0, printed
        return printed.strip()


def build(folder: Path, into: Path, *options: str) -> Wheel:
    """Build a project as ``make dist`` does. options: ``--wheel``; or none, for an sdist and a wheel made of it."""
    command: list[str | Path] = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", into, folder]
    subprocess.run(command, check=True, capture_output=True)
    name = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"].replace("-", "_")
    (path,) = into.glob(f"{name}-*.whl")
    return open_wheel(folder, path)


def open_wheel(folder: Path, path: Path) -> Wheel:
    """folder: the project it was built from."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = (content for name, content in files.items() if name.endswith(".dist-info/METADATA"))
    return Wheel(folder, path, files, email.message_from_bytes(metadata))


def empty_installation(folder: Path) -> Installation:
    """A new environment without anything, pip included: this Python's installs into it, which saves seconds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (folder / "home").mkdir()
    python = folder / "env" / Path(sys.executable).relative_to(sys.prefix)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAYERZOO", "PIP", "PYTHON"))}
    changed = {
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "LAYERZOO_CACHE": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "80",
    }
    return Installation(python, folder / "home", {**kept, **changed})


def install(into: Installation, *arguments: str | Path, environment: Mapping[str, str] = os.environ) -> None:
    """Run ``pip install``, for another environment."""
    command = [sys.executable, "-m", "pip", "--python", into.python, "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr


def install_beside_links(folder: Path, requirement: str, wheels: Mapping[str, Wheel]) -> Installation:
    """What is required, such as ``layerzoo[starter]``, from wheels by name, beside links to libraries: 6 GB of them.

    Only to those that the wheels lead to: what is used and not required is missing here.
    """
    installation = empty_installation(folder)
    site_packages = Path(installation.program("import sysconfig; print(sysconfig.get_path('purelib'))"))
    for entry in {entry for name in _libraries(requirement, wheels) for entry in _entries(name)}:
        (site_packages / entry.name).symlink_to(entry)
    # pip is offered nothing else, so that it cannot replace a library: it would reach through the link.
    offers = {f"--find-links={wheel.path.parent}" for wheel in wheels.values()}
    nothing_more = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    install(installation, "--no-index", *offers, requirement, environment={**os.environ, **nothing_more})
    return installation


def _libraries(required: str, wheels: Mapping[str, Wheel]) -> set[str]:
    """The names of all distributions that a requirement leads to and that are none of the wheels."""
    pending, seen = [Requirement(required)], set()
    while pending:
        requirement = pending.pop()
        asked = (requirement.name, frozenset(requirement.extras))
        if asked not in seen:
            seen.add(asked)
            pending += _required(requirement, wheels)
    return {name for name, _ in seen if name not in wheels}


def _required(by: Requirement, wheels: Mapping[str, Wheel]) -> Iterator[Requirement]:
    ours = wheels.get(by.name)
    texts = importlib.metadata.requires(by.name) or () if ours is None else ours.metadata.get_all("Requires-Dist", ())
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *by.extras)):
            yield requirement


def _entries(name: str) -> set[Path]:
    """What a distribution has put into the site-packages of this environment."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    return {Path(str(distribution.locate_file(top))) for top in tops}
