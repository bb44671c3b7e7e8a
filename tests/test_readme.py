"""README.md is correct: its code runs, its commands print the expected output, and its plugin works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.distributions import Installation, Wheel, build, install_with_links
from tests.readme import README, Command, prints, readme_blocks, readme_commands, readme_program, write_files

PAGE = """\
```console
$ make test
$ zoo list
toy/next-word
$ zoo show toy/next-word
...
```

```python
x = 1
```

```python
y = x + 1
```
"""


@pytest.fixture(scope="module")
def installation(wheels: dict[str, Wheel], tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Installation:
    """Install the packages of the page, and write its files into the working directory."""
    environment = install_with_links(tmp_path_factory.mktemp("readme"), "layerzoo[starter]", wheels)
    write_files(environment.home, samples)
    return environment


def test_the_page_has_code_and_commands():
    assert readme_blocks("python")
    assert readme_commands()


def test_the_code_runs(installation: Installation):
    (installation.home / "README.py").write_text(readme_program(), encoding="utf-8")
    code, printed = installation.run([installation.python, "README.py"])
    assert code == 0, printed


@pytest.mark.parametrize("command", readme_commands(), ids=lambda command: command.text)
def test_a_command_prints_the_expected_output(command: Command, installation: Installation):
    code, printed = installation.run(command.text)
    assert code == 0, printed
    assert not command.output or prints(command.output, printed), f"README.md:{command.line} printed\n{printed}"


def test_the_registry_file_declares_models(installation: Installation, tmp_path: Path):
    (registry,) = (block.code for block in readme_blocks("yaml") if "mine/" in block.code)
    (tmp_path / "registry.yaml").write_text(registry, encoding="utf-8")
    code, printed = installation._replace(home=tmp_path).run("zoo list && zoo show shelf")
    assert code == 0, printed
    assert {"mine/shelf-v2", "mine/tiny-bert"} <= set(printed.splitlines())


def test_the_complete_plugin_works(wheels: dict[str, Wheel], tmp_path: Path, samples: Path):
    section = README.partition("## A plugin, in full")[2]
    project = tmp_path / "acme"
    for language, target in (
        ("toml", "pyproject.toml"),
        ("yaml", "src/acme_zoo/registry.yaml"),
        ("py", "src/acme_zoo/__init__.py"),
    ):
        (block,) = readme_blocks(language, section)
        (project / target).parent.mkdir(parents=True, exist_ok=True)
        (project / target).write_text(block.code, encoding="utf-8")
    acme = build(project, tmp_path / "dist", "--wheel")

    installation = install_with_links(tmp_path, acme.name, {**wheels, acme.name: acme})
    write_files(installation.home, samples)
    (command,) = re.findall(r"`(zoo extract [^`]*)`", section)
    code, printed = installation.run(command)
    assert code == 0, printed
    assert "2 samples through acme/tiny-cnn at stage.1 (mean)" in printed


# ---------------------------------------------------------------- parsing of the page


def test_commands_include_their_output_and_exclude_set_up():
    assert readme_commands(PAGE) == [
        Command(3, "zoo list", ("toy/next-word",)),
        Command(5, "zoo show toy/next-word", ("...",)),
    ]


def test_a_program_has_the_line_numbers_of_its_page():
    lines = readme_program(PAGE).splitlines()
    assert {number: line for number, line in enumerate(lines, 1) if line} == {10: "x = 1", 14: "y = x + 1"}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a", "b"], "a\nb\n", True),
        (["a", "b"], "a  \nb", True),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["...", "b", "..."], "a\nb\n", True),
        (["...", "b"], "b c\n", False),
        (["1 × 2 (3)"], "1 × 2 (3)\n", True),
        (["..."], "", True),
    ],
)
def test_three_dots_match_any_lines(expected: list[str], printed: str, same: bool):
    assert prints(expected, printed) is same
