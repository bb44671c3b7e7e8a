"""What browsing imports: nothing heavy, in a fresh interpreter on a warm index."""

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
    """What of the heavy a program imports in a fresh interpreter, and what it prints."""
    told = f"{program}\nimport sys; print(*(sys.modules.keys() & {HEAVY!r}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split()), done.stdout


def called(arguments: list[str]) -> str:
    """A program that calls the command line and goes on afterwards, when all went well."""
    return (
        "from layerzoo.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )


@pytest.fixture
def warm(install: Install) -> None:
    """An index that knows everything, also what is only worked out when models are listed."""
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
def test_looking_up_imports_nothing_heavy(question: str) -> None:
    found, _ = heavy_modules(f"import layerzoo; assert {question}")
    assert not found


@pytest.mark.usefixtures("warm")
def test_an_unknown_model_imports_nothing_heavy() -> None:
    program = "import layerzoo\ntry: layerzoo.model('acme/shelff')\nexcept layerzoo.LayerzooError as it: print(it)"
    found, printed = heavy_modules(program)
    assert (found, "Nearest: acme/shelf" in printed) == (set(), True)
