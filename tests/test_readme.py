"""README.md and the pages in docs/ are correct: code runs, commands print the expected output, and the plugin works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import page_program
from tests.distributions import ROOT, Installation, Wheel, build, install_with_links
from tests.page_program import is_described, page_blocks, run_page
from tests.readme import PAGES, PLUGIN_PAGE, README, Command, page_commands, prints, write_files

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


PATHS = {path.relative_to(ROOT).as_posix(): path for path in PAGES}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}
COMMANDS = {name: commands for name, text in TEXTS.items() if (commands := page_commands(text))}
REGISTRIES = [
    pytest.param(block.code, id=f"{name}:{block.line}")
    for name, text in TEXTS.items()
    for block in page_blocks("yaml", text)
]


@pytest.fixture(scope="module")
def installation(wheels: dict[str, Wheel], tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Installation:
    """Install the packages of the pages, and write their files into the working directory."""
    environment = install_with_links(
        tmp_path_factory.mktemp("readme"), "layerzoo[starter,torchaudio,torchvision]", wheels
    )
    write_files(environment.home, samples)
    return environment


def test_the_readme_has_code_commands_and_a_registry_file_in_less_than_250_lines():
    text = README.read_text(encoding="utf-8")
    assert page_blocks("python", text)
    assert page_blocks("yaml", text)
    assert page_commands(text)
    assert len(text.splitlines()) < 250


@pytest.fixture(scope="module")
def program(installation: Installation) -> tuple[int, str]:
    """Run the code of all pages in one process. Returns: exit code and output."""
    pages = [PATHS[name] for name, text in TEXTS.items() if page_blocks("python", text)]
    return installation.run([installation.python, "-P", page_program.__file__, *pages])


def test_the_code_of_all_pages_runs_and_has_the_values_in_its_comments(program: tuple[int, str]):
    code, printed = program
    assert code == 0, printed


@pytest.mark.usefixtures("program")  # a command may read a file that the code of its page wrote
@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_of_a_page_print_the_expected_output(page: str, installation: Installation):
    results = [(command, *installation.run(command.text)) for command in COMMANDS[page]]
    wrong = [
        f"{page}:{command.line}: {command.text}: exit code {code}\n{printed}"
        for command, code, printed in results
        if code != 0 or (command.output and not prints(command.output, printed))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("registry", REGISTRIES)
def test_a_registry_file_declares_its_models(registry: str, installation: Installation, tmp_path: Path):
    (tmp_path / "registry.yaml").write_text(registry, encoding="utf-8")
    models = re.findall(r"^ +(mine/[\w-]+):$", re.sub(" +#.*", "", registry), re.MULTILINE)
    aliases = re.findall(r"^ +(\w+): mine/", registry, re.MULTILINE)
    shown = [f"zoo show {name}" for name in [*models, *aliases]]
    here = installation._replace(home=tmp_path)
    code, printed = here.run(" && ".join(["zoo registry check registry.yaml", "zoo list", *shown]))
    assert code == 0, printed
    assert models
    assert set(models) <= set(printed.splitlines())


def test_the_plugin_of_its_page_works(wheels: dict[str, Wheel], tmp_path: Path, samples: Path):
    page = PLUGIN_PAGE.read_text(encoding="utf-8")
    project = tmp_path / "acme"
    for language, target in (
        ("toml", "pyproject.toml"),
        ("yaml", "src/acme_zoo/registry.yaml"),
        ("py", "src/acme_zoo/__init__.py"),
    ):
        (block,) = page_blocks(language, page)
        (project / target).parent.mkdir(parents=True, exist_ok=True)
        (project / target).write_text(block.code, encoding="utf-8")
    acme = build(project, tmp_path / "dist", "--wheel")

    installation = install_with_links(tmp_path, acme.name, {**wheels, acme.name: acme})
    write_files(installation.home, samples)
    (command,) = page_commands(page)
    code, printed = installation.run(command.text)
    assert code == 0, printed
    assert prints(command.output, printed), printed


# ---------------------------------------------------------------- parsing of the page


def test_commands_include_their_output_and_exclude_set_up():
    assert page_commands(PAGE) == [
        Command(3, "zoo list", ("toy/next-word",)),
        Command(5, "zoo show toy/next-word", ("...",)),
    ]


def test_a_program_has_the_line_numbers_of_its_page():
    lines = page_program.page_program(PAGE).splitlines()
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


@pytest.mark.parametrize(
    ("value", "comment", "same"),
    [
        ("(2, 24)", "(2, 24)", True),
        ("(2, 24)", "(2, 24), float32", True),
        ("(2, 25)", "(2, 24), float32", False),
        ("(2, 24)", "(2", False),
        ("['stem', 'block.0', 'head']", "['stem', …, 'head']", True),
        ("['stem', 'block.0']", "['stem', …, 'head']", False),
    ],
)
def test_a_comment_describes_the_value_before_it(value: str, comment: str, same: bool):
    assert is_described(value, comment) is same


def test_a_value_that_differs_from_its_comment_names_the_line_of_the_page():
    with pytest.raises(AssertionError, match=r"page\.md:3: 2 is not 3"):
        run_page("```python\nx = 1\nx + 1  # 3\n```\n", "page.md")
    assert run_page("```python\nx = 1\nx + 1  # 2\n```\n", "page.md")["x"] == 1
