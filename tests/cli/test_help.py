"""Help, messages for wrong usage with the nearest names, and a comparison, as a new user reads them.

The expected texts are in golden_terminal/. After an intended change, write them again and read the difference:

    LAYERZOO_WRITE_GOLDEN=1 pytest tests/cli/test_help.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from layerzoo.cli import LazyGroup, main
from layerzoo.cli import zoo as root

Install = Callable[..., None]
Zoo = Callable[[str], tuple[int, str]]

GOLDEN = Path(__file__).parent / "golden_terminal"

MISTAKES = {
    "verb": ["lsit", "plugin chekc", "registry schma", "frobnicate"],
    "option": ["list --modalty text", "extract a.txt --outt b.npz", "--vesion", "compare --diffring a b"],
    "value": [
        "list --modality visoin",
        "list --format jsn",
        "completion bsh",
        "extract a --out b.npz --precision float",
    ],
    "number": ["list --max-params many"],
    "missing": ["show", "extract a.txt", "compare toy/next-word"],
    "model": ["show acme/vit-shelff", "layers toy/nextword", "compare toy/next-word acme/cat/onne"],
    "layer": ["layers acme/vit-shelf blok.3", "layers acme/vit-shelf block.12"],
    "plugin": ["plugin show acne", "list --plugin acem"],
}


@pytest.fixture
def zoo(install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Run a command in this process, 80 columns wide. Returns: exit code, and everything that it prints."""
    install("good")
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(line.split())
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out + captured.err

    return run


def check(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if "LAYERZOO_WRITE_GOLDEN" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def verbs(group: click.Group = root, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Map the command line of every command and group to the command."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")


@pytest.mark.parametrize("line", ["", *(line for line, _ in verbs())])
def test_help_equals_the_golden_files(zoo: Zoo, line: str) -> None:
    code, shown = zoo(f"{line} --help")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    check(f"help_{line.replace(' ', '_') or 'zoo'}", shown)


def test_no_arguments_show_the_help(zoo: Zoo) -> None:
    assert zoo("") == zoo("--help")
    assert zoo("plugin") == zoo("plugin --help")


def test_the_version_is_printed(zoo: Zoo) -> None:
    code, shown = zoo("--version")
    assert (code, shown.split()[:2]) == (0, ["zoo,", "version"])


@pytest.mark.parametrize(("line", "command"), list(verbs()))
def test_every_option_has_a_description(line: str, command: click.Command) -> None:
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(each.help for each in options), line


@pytest.mark.parametrize(("line", "command"), list(verbs()))
def test_every_invalid_choice_suggests_the_nearest(line: str, command: click.Command) -> None:
    kinds = [each.type for each in command.params if isinstance(each.type, click.Choice)]
    assert {type(kind).__name__ for kind in kinds} <= {"WordChoice"}, line


def test_the_list_of_commands_contains_the_first_line_of_each_help() -> None:
    assert isinstance(root, LazyGroup)
    for name, (_, summary) in root._lazy.items():
        command = root.get_command(click.Context(root), name)
        assert command is not None
        assert " ".join((command.help or "").split("\n\n")[0].split()).startswith(summary.removesuffix(".")), name


def test_help_imports_no_command() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "layerzoo", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "layerzoo.cli" in imported
    assert isinstance(root, LazyGroup)
    assert not imported & {module.partition(":")[0] for module, _ in root._lazy.values()}
    assert "layerzoo.registry" not in imported


@pytest.mark.parametrize("kind", MISTAKES)
def test_messages_for_wrong_usage_equal_the_golden_files(zoo: Zoo, home: Path, kind: str) -> None:
    (home / "a.txt").write_text("one\n", encoding="utf-8")
    message = []
    for line in MISTAKES[kind]:
        code, shown = zoo(line)
        message.append(f"$ zoo {line}\n{shown}exit code {code}\n")
        assert code == (3 if kind in ("model", "layer", "plugin") else 2), line
    check(f"mistake_{kind}", "\n".join(message))
