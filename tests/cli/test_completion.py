"""zoo completion: in real shells, at the protocol of the scripts, and with broken files and plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.shells import SCRIPTS, interactive

Install = Callable[..., None]

SHELLS = ("bash", "zsh", "fish")
NAMES = ("net@v1", "net@v2", "hub:one=large", "hub:one=small")
HEAVY = {"torch", "numpy", "timm", "transformers", "pydantic", "yaml", "rich", "pyarrow"}


@pytest.fixture
def ids(home: Path) -> Path:
    """Write a user's file with ids that contain the characters at which bash splits words."""
    models = "".join(f'  "{name}": {{modality: text, builder: toy}}\n' for name in NAMES)
    (home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{models}", encoding="utf-8")
    return home


def offered(line: str) -> list[tuple[str, str]]:
    """Return type and value of each completion at the end of a line, by the protocol that all scripts use."""
    done = answered(line)
    assert (done.returncode, done.stderr) == (0, "")
    return [(kind, value) for kind, value, _ in (row.split("\t") for row in done.stdout.splitlines() if row)]


def answered(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "_ZOO_COMPLETE": "zsh_complete", "COMP_WORDS": line, **environment}
    command = [sys.executable, "-m", "layerzoo"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def values(line: str) -> list[str]:
    return [value for _, value in offered(line)]


# ---------------------------------------------------------------- completions


def test_commands_are_completed(home: Path) -> None:
    assert values("zoo comp") == ["compare", "completion"]
    assert "list" in values("zoo plugin ")


def test_options_and_their_values_are_completed(home: Path) -> None:
    assert values("zoo list --mod") == ["--modality"]
    assert values("zoo list --modality v") == ["vision", "video"]
    assert values("zoo list --modality=v") == ["--modality=vision", "--modality=video"]
    assert values("zoo completion ") == list(SHELLS)


def test_ids_and_aliases_are_completed(install: Install) -> None:
    install("good")
    assert values("zoo show acme/s") == ["acme/shelf", "acme/shelf-video"]
    assert values("zoo compare acme/cat/one acme/cat/") == ["acme/cat/one", "acme/cat/two"]
    assert values("zoo extract a.txt --model acme/cat/t") == ["acme/cat/two"]


def test_layers_and_selectors_of_the_given_model_are_completed(home: Path) -> None:
    layers = ["block.0", "head", "last", "final", "penultimate", "block.-1", "block.*", "@0.5", "module:"]
    assert values("zoo layers toy/next-word ") == layers
    assert values("zoo extract a.txt --model toy/next-word --layer b") == ["block.0", "block.-1", "block.*"]
    assert values("zoo layers toy/next-word module:") == ["module:hidden", "module:next_word"]
    assert offered("zoo layers toy/next-word m") == [("partial", "module:")]


def test_poolings_are_completed_for_all_layers_and_for_one(home: Path) -> None:
    assert values("zoo extract a.txt --pool st") == ["std", "statistics"]
    assert values("zoo extract a.txt --pool=block.0=me") == ["--pool=block.0=mean"]
    assert offered("zoo extract a.txt --layer block.0 --pool b") == [("partial", "block.0=")]


def test_plugins(install: Install) -> None:
    install("good")
    assert values("zoo plugin show ac") == ["acme"]
    assert values("zoo list --plugin toy") == ["toy"]


@pytest.mark.parametrize("line", ["zoo extract ", "zoo extract a.txt --out ", "zoo extract a.txt --weights "])
def test_files(home: Path, line: str) -> None:
    assert offered(line) == [("file", "")]


def test_a_long_list_is_shortened_and_keeps_its_last_entry(home: Path) -> None:
    models = "".join(f"  net-{number:04}: {{modality: text, builder: toy}}\n" for number in range(2000))
    (home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{models}", encoding="utf-8")
    found = values("zoo show mine/net-")
    assert (len(found), found[:2], found[-1]) == (500, ["mine/net-0000", "mine/net-0001"], "mine/net-1999")


# ---------------------------------------------------------------- bash


def in_bash(words: str, cword: int, line: str | None = None, word: str | None = None) -> list[str]:
    """Return COMPREPLY after a call of the script's function. words, line, word: as bash sets them."""
    called = "_zoo_completion zoo" if word is None else f"_zoo_completion zoo '{word}' ''"
    program = f"""
        source <(zoo completion bash)
        COMP_WORDS=({words}); COMP_CWORD={cword}
        {"" if line is None else f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}"}
        {called}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "cword", "replies"),
    [
        ("zoo show mine/n", 2, ["mine/net@v1", "mine/net@v2"]),
        ("zoo show mine/hub : one = s", 6, ["small"]),
        ("zoo show mine/hub :", 3, ["one=large", "one=small"]),
        ("zoo list --format = js", 4, ["json", "jsonl"]),
        ("zoo list --format =", 3, ["table", "json", "jsonl", "ids"]),
    ],
)
def test_words_split_by_bash_are_joined(ids: Path, words: str, cword: int, replies: list[str]) -> None:
    assert in_bash(words, cword) == replies


@pytest.mark.parametrize(
    ("line", "word", "replies"),
    [
        ("zoo show mine/hub:one=s", "s", ["small"]),
        ("zoo show mine/net@", "@", ["@v1", "@v2"]),
        ("zoo show mine/net@", "mine/net@", ["mine/net@v1", "mine/net@v2"]),  # where bash does not split words at @
        ('zoo show "mine/hub:one=s', "mine/hub:one=s", ["mine/hub:one=small"]),
        ("zoo list --format=js", "js", ["json", "jsonl"]),
        ("zoo layers toy/next-word block.", "block.", ["block.0", "block.-1", "block.\\*"]),
    ],
)
def test_bash_receives_the_part_that_it_replaces(ids: Path, line: str, word: str, replies: list[str]) -> None:
    assert in_bash("zoo", 0, line, word) == replies


# ---------------------------------------------------------------- interactive shells


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_an_interactive_shell(ids: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    with interactive(shell, ids) as terminal:
        for begun, completed in (
            ("zoo show mine/hub:one=s", "mine/hub:one=small"),
            ("zoo show mine/ne", "mine/net@v"),
            ("zoo list --format=ta", "--format=table"),
            ("zoo extract --out=regi", "--out=registry.yaml"),
        ):
            terminal.types(f"{begun}\t")
            assert terminal.shows(completed[-6:]), (begun, terminal.shown)
            terminal.types("\x15")  # clears the line


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_is_valid(home: Path, shell: str) -> None:
    command = [sys.executable, "-m", "layerzoo", "completion", shell]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"_ZOO_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- broken files and plugins


@pytest.mark.parametrize(
    "line", ["", "zoo", "zoo nonsense ", "zoo show 'open ", "zoo layers no/model ", "zoo list --modality=text=x", "\\"]
)
def test_an_invalid_command_line_has_no_completions_and_no_message(home: Path, line: str) -> None:
    done = answered(line)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_does_not_report_broken_files_and_plugins(install: Install, home: Path) -> None:
    install("good", "invalid_yaml", "raises", "half_valid")
    (home / "registry.yaml").write_text("layerzoo: [", encoding="utf-8")
    assert values("zoo show acme/cat/o") == ["acme/cat/one"]


def test_completion_does_not_report_an_unusable_cache(home: Path) -> None:
    (home / "file").touch()
    done = answered("zoo show toy/", LAYERZOO_CACHE=str(home / "file"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain\ttoy/next-word\t\n", "")


def test_an_unknown_shell_has_no_completions(home: Path) -> None:
    done = answered("zoo ", _ZOO_COMPLETE="tcsh_complete")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_completion_imports_nothing_heavy(home: Path) -> None:
    answered("zoo show ")  # compiles the index
    program = f"""
import sys
from layerzoo.cli import main
try:
    main([])
except SystemExit:
    assert not sys.modules.keys() & {HEAVY!r}, sys.modules.keys() & {HEAVY!r}
"""
    for line in ("zoo ", "zoo show t", "zoo layers toy/next-word ", "zoo extract a --pool "):
        variables = {**os.environ, "_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": line}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout
