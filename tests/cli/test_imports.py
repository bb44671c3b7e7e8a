"""Browsing imports nothing heavy, in a new interpreter with a warm index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Install = Callable[..., None]

HEAVY = {"torch", "numpy", "timm", "transformers", "pydantic", "rich", "pyarrow", "yaml", "huggingface_hub"}
FORMATS = ("ids", "json", "jsonl")
VERBS = (
    "list",
    "list --modality vision --license apache-2.0 --max-params 10M",
    "search vit",
    "show acme/vit-shelf",
    "show vit-shelf",
    "layers acme/vit-shelf",
    "layers acme/vit-shelf block.{0..3}",
    "plugin list",
    "plugin show acme",
)


def heavy_modules(program: str) -> tuple[set[str], str]:
    """Run a program in a new interpreter. Returns: the heavy modules that it imports, and its output."""
    message = f"{program}\nimport sys; print(*(sys.modules.keys() & {HEAVY!r}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", message], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split()), done.stdout


def called(arguments: list[str]) -> str:
    """Return a program that calls the command line and continues if it succeeds."""
    return (
        "from layerzoo.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )


@pytest.fixture
def warm(install: Install) -> None:
    """Compile the index, including results that are computed when models are listed."""
    install("good")
    for verb in ("list", "plugin list"):
        heavy_modules(called(verb.split()))


@pytest.mark.usefixtures("warm")
def test_browsing_imports_nothing_heavy() -> None:
    for format_ in FORMATS:
        programs = [called([*verb.split(), "--format", format_]) for verb in VERBS]
        found, printed = heavy_modules("\n".join(programs))
        assert (found, bool(printed)) == (set(), True), format_


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("verb", ["list", "show acme/vit-shelf"])
def test_help_and_mistakes_import_nothing_heavy(verb: str) -> None:
    found, _ = heavy_modules(called([*verb.split(), "--help"]))
    assert not found
    mistake = f"from layerzoo.cli import main\ntry: main({[*verb.split(), '--modalty']!r})\nexcept SystemExit: pass"
    assert not heavy_modules(mistake)[0]


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert heavy_modules("import layerzoo") == (set(), "")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    "question",
    [
        "layerzoo.models()",
        "layerzoo.models(modality='vision', max_params=10**7, license='apache-2.0')",
        "layerzoo.models(text='supermarket')",
        "layerzoo.model('acme/shelf').layers",
        "layerzoo.model('acme/shelf-video').preprocess",
    ],
)
def test_a_lookup_imports_nothing_heavy(question: str) -> None:
    found, _ = heavy_modules(f"import layerzoo; assert {question}")
    assert not found


@pytest.mark.usefixtures("warm")
def test_an_unknown_model_imports_nothing_heavy() -> None:
    program = "import layerzoo\ntry: layerzoo.model('acme/shelff')\nexcept layerzoo.LayerzooError as it: print(it)"
    found, printed = heavy_modules(program)
    assert (found, "Nearest: acme/shelf" in printed) == (set(), True)


SLOW_TO_IMPORT = {
    *("asyncio", "concurrent.futures", "difflib", "email", "hashlib", "http", "importlib.metadata", "logging"),
    *("platformdirs", "pluggy", "shutil", "socket", "ssl", "subprocess", "tempfile", "textwrap", "urllib.request"),
}
"""Modules of the standard library and of dependencies that browsing does not need: each takes 1 to 50 ms."""
MOST_OWN_MODULES = {
    "list": 41,
    "list --modality vision --license apache-2.0 --max-params 10M": 41,
    "search vit": 41,
    "show acme/vit-shelf": 41,
    "layers acme/vit-shelf": 41,
    "completion bash": 14,
}
"""The number of modules of layerzoo that a command imports, with its package: half of the time of a command."""


def imported_modules(arguments: list[str]) -> set[str]:
    """Return the modules that the command `zoo` imports in a new interpreter, except those of the interpreter."""
    program = (
        "import sys; before = {*sys.modules}\n"
        "from layerzoo.__main__ import main\n"
        f"sys.argv = ['zoo', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*(sys.modules.keys() - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("verb", MOST_OWN_MODULES)
def test_a_command_imports_only_its_own_modules(verb: str) -> None:
    piped = [] if verb.startswith("completion") else ["--format", "json" if verb.startswith("show") else "ids"]
    imported = imported_modules([*verb.split(), *piped])
    own = {module for module in imported if module.partition(".")[0] == "layerzoo"}
    assert not imported & SLOW_TO_IMPORT
    assert len(own) <= MOST_OWN_MODULES[verb], sorted(own)


@pytest.mark.usefixtures("warm")
def test_a_completed_id_imports_no_slow_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ZOO_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "zoo show acme/")
    assert not imported_modules([]) & SLOW_TO_IMPORT
