"""README.md does what it says: its code runs, its commands print what stands below them, its plugin works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.distributions import Installation, install_beside_links, this_installation
from tests.readme import README, Command, lay_out, prints, readme_blocks, readme_commands, readme_program

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


@pytest.fixture(scope="module", params=["checkout", "wheels"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, samples: Path
) -> Installation:
    """This environment, and one with nothing but `layerzoo[starter]`; in the working directory are the page's files."""
    folder = tmp_path_factory.mktemp("readme")
    if request.param == "wheels":
        made = install_beside_links(folder, "starter", request.getfixturevalue("wheels"))
    else:
        made = this_installation(folder)
    lay_out(made.home, samples)
    return made


def test_the_code_runs(installation: Installation):
    (installation.home / "README.py").write_text(readme_program(), encoding="utf-8")
    code, printed = installation.run([installation.python, "README.py"])
    assert code == 0, printed


@pytest.mark.parametrize("command", readme_commands(), ids=lambda command: command.text)
def test_a_command_prints_what_stands_below_it(command: Command, installation: Installation):
    code, printed = installation.run(command.text)
    assert code == 0, printed
    assert not command.output or prints(command.output, printed), f"README.md:{command.line} printed\n{printed}"


def test_the_registry_file_declares_models(tmp_path: Path):
    here = this_installation(tmp_path)
    (registry,) = (block.code for block in readme_blocks("yaml") if "mine/" in block.code)
    (here.home / "registry.yaml").write_text(registry, encoding="utf-8")
    code, printed = here.run("zoo list && zoo show shelf")
    assert code == 0, printed
    assert {"mine/shelf-v2", "mine/tiny-bert"} <= set(printed.splitlines())


def test_the_plugin_in_full_is_all_it_takes(tmp_path: Path, samples: Path):
    section = README.partition("## A plugin, in full")[2]
    source = tmp_path / "src" / "acme_zoo"
    source.mkdir(parents=True)
    for language, target in (
        ("toml", tmp_path / "pyproject.toml"),
        ("yaml", source / "registry.yaml"),
        ("py", source / "__init__.py"),
    ):
        (block,) = readme_blocks(language, section)
        target.write_text(block.code, encoding="utf-8")

    here = this_installation(tmp_path)
    lay_out(here.home, samples)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    code, printed = here.run([here.python, *install, tmp_path / "site", tmp_path])
    assert code == 0, printed
    (command,) = re.findall(r"`(zoo extract [^`]*)`", section)
    here.environment["PYTHONPATH"] = str(tmp_path / "site")
    code, printed = here.run(command)
    assert code == 0, printed
    assert "2 samples through acme/tiny-cnn at stage.1 (mean)" in printed


# ---------------------------------------------------------------- how the page is read


def test_commands_come_with_what_they_print_and_without_those_that_set_up():
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
def test_three_dots_stand_for_any_lines(expected: list[str], printed: str, same: bool):
    assert prints(expected, printed) is same
