"""zoo catalogue: the models of a plugin's library are traced, written to a file and compared with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.terminal import Zoo as Terminal

import layerzoo
from layerzoo.runtime import trace_layers
from layerzoo.spec import ImagePreprocess

Zoo = Callable[[str], tuple[int, str, str]]
InstallCopy = Callable[[str], Path]

PLUGIN = Path(__file__).parents[1] / "plugins_on_disk" / "catalogued"
FAILING = 'MODELS["failing"] = [model("failing", args={"does": "fails"})]\n'
CRASHING = 'MODELS["crashing"] = [model("crashing", args={"does": "crashes"})]\n'
HANGING = 'MODELS["zzz"] = [model("zzz", args={"does": "hangs"})]\n'
PATIENCE_S = 60
LONGEST_LINE = 250


@pytest.fixture
def zoo(zoo: Terminal) -> Zoo:
    """Run a command. Returns: exit code, standard output, standard error."""
    return lambda line: zoo(*line.split())


@dataclass(frozen=True)
class Built:
    """A plugin with a built catalogue, and the result of the build."""

    package: Path
    cache: Path
    code: int
    err: str

    @property
    def text(self) -> str:
        return (self.package / "models.jsonl").read_text(encoding="utf-8")


def environment(package: Path, cache: Path) -> dict[str, str]:
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LAYERZOO_CACHE": str(cache)}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "layerzoo", "catalogue", *arguments, "--jobs", "1"]


def add(package: Path, text: str) -> None:
    with (package / "__init__.py").open("a", encoding="utf-8") as code:
        code.write(text)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, index: Path) -> Built:
    """Build a catalogue of three architectures, one of which fails."""
    folder = tmp_path_factory.mktemp("built")
    package = shutil.copytree(PLUGIN, folder / "catalogued") / "catalogued_zoo"
    add(package, FAILING)
    shutil.copytree(index, folder / "cache")
    done = subprocess.run(command("build", "catalogued"), env=environment(package, folder / "cache"), cwd=folder,
                          capture_output=True, text=True, check=False)  # fmt: skip
    return Built(package, folder / "cache", done.returncode, done.stderr)


@pytest.fixture
def built(once: Built, install_copy: InstallCopy, home: Path) -> Built:
    """Install a copy of that plugin with its catalogue, which the test may change."""
    package = install_copy("catalogued")
    for name in ("__init__.py", "models.jsonl"):
        shutil.copy(once.package / name, package)
    cache = shutil.copytree(once.cache, home.parent / "cache", dirs_exist_ok=True)
    return Built(package, cache, once.code, once.err)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def rewrite(built: Built, line: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a line of the catalogue. Line 0 is the header."""
    found = rows(built.text)
    change(found[line])
    text = "".join(f"{json.dumps(row)}\n" for row in found)
    (built.package / "models.jsonl").write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- build


def test_every_listed_model_is_a_line_after_the_header(built: Built) -> None:
    head, *models = rows(built.text)
    assert [row["id"] for row in models] == ["failing", "small.a", "small.b", "small.c", "wide"]
    assert head["common"] == {"modality": "vision", "builder": "catalogued"}
    assert head["traced_with"].keys() == {"torch"}


def test_a_model_that_cannot_be_traced_is_reported_and_listed_without_layers(built: Built) -> None:
    _, failing, *others = rows(built.text)
    assert "layers" not in failing
    assert all("layers" in row for row in others)
    assert built.code == 1
    assert "5 models, " in built.err
    assert "1 model without layers: catalogued/failing could not be traced: " in built.err
    assert "too bright" in built.err


def test_the_layers_of_a_catalogue_equal_those_of_a_trace(built: Built) -> None:
    for name in ("small.a", "small.b", "small.c", "wide"):
        spec = layerzoo.model(f"catalogued/{name}")
        assert spec.layers == trace_layers(spec)
        assert spec.traced_with.to_dict().keys() == {"torch"}
    assert layerzoo.model("catalogued/small").id == "catalogued/small.a"


def test_equal_networks_with_different_input_sizes_have_separate_costs(built: Built) -> None:
    small, large = (layerzoo.model(f"catalogued/small.{tag}") for tag in "ac")
    assert isinstance(large.preprocess, ImagePreprocess)
    assert large.preprocess.size_px == (16, 16)
    assert large.params == small.params
    assert large.flops is not None
    assert small.flops is not None
    assert large.flops > 3 * small.flops


def test_results_of_an_earlier_run_are_reused(
    built: Built, zoo: Zoo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOGUED_LOG", str(home / "log"))
    (built.package / "models.jsonl").unlink()
    code, _, err = zoo("catalogue build catalogued-zoo --out again.jsonl --jobs 1")
    assert code == 1
    assert "could not be traced" in err
    assert not (home / "log").exists()
    assert (home / "again.jsonl").read_text(encoding="utf-8").startswith('{"layerzoo":1')


def test_selected_architectures_can_be_rebuilt_while_the_others_are_kept(built: Built, zoo: Zoo) -> None:
    before = built.text.splitlines()
    rewrite(built, 1, lambda row: row.update(summary="another"))
    rewrite(built, -1, lambda row: row.update(summary="another"))
    name = json.loads(before[1])["id"].split(".")[0]
    zoo(f"catalogue build catalogued --only {name} --jobs 1")
    after = built.text.splitlines()
    assert after[:2] == before[:2]
    assert json.loads(after[-1])["summary"] == "another"


def test_a_new_library_version_requires_a_complete_rebuild(built: Built, zoo: Zoo) -> None:
    rewrite(built, 0, lambda head: head.update(traced_with={"torch": "1.0"}))
    code, _, err = zoo("catalogue build catalogued --only small --jobs 1")
    assert code == 2
    assert "was not made with the libraries that are here. Next: zoo catalogue build catalogued, without --only" in err


def test_ctrl_c_keeps_the_results_and_writes_no_catalogue(home: Path, install_copy: InstallCopy) -> None:
    """A network that crashed its process has no result: the next run tries it again."""
    package = install_copy("catalogued")
    add(package, CRASHING + HANGING)
    ledger = home.parent / "cache" / "catalogues" / "catalogued.ledger"
    running = subprocess.Popen(
        command("build", "catalogued"), start_new_session=True, stderr=subprocess.PIPE, text=True, cwd=home
    )
    until = time.monotonic() + PATIENCE_S
    while not (ledger.exists() and '"wide"' in ledger.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # like a terminal, which signals the workers too
    _, err = running.communicate(timeout=PATIENCE_S)
    kept = "finished traces are kept, and the same command resumes"
    assert (running.returncode, err) == (-signal.SIGINT, f"zoo: stopped by Ctrl-C (SIGINT); {kept}\n")
    assert [row["name"] for row in rows(ledger.read_text().strip())] == ["small", "wide"]
    assert sorted(path.name for path in package.iterdir() if path.is_file()) == ["__init__.py", "registry.yaml"]


# ---------------------------------------------------------------- check


def test_an_unchanged_catalogue_has_no_differences(built: Built, zoo: Zoo) -> None:
    code, out, err = zoo("catalogue check catalogued --only small --only fail* --jobs 1")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "2 architectures, 0 differences"


def test_each_difference_is_a_short_line(built: Built, zoo: Zoo) -> None:
    rewrite(built, 0, lambda head: head["traced_with"].update(torch="1.0"))
    rewrite(built, 1, lambda failing: failing.update(layers=[["stem", "0"]]))
    rewrite(built, 2, lambda small: small["layers"][0].__setitem__(1, "elsewhere"))
    rewrite(built, 3, lambda small: small.update(id="gone"))
    rewrite(built, 4, lambda small: small.update(params=1, summary="?" * 10_000))
    with (built.package / "models.jsonl").open("a", encoding="utf-8") as catalogue:
        catalogue.write('[1]\n{"id": "half')
    code, out, _ = zoo("catalogue check catalogued --only small --only failing --jobs 1")
    assert code == 1
    begin = [line[:46] for line in out.splitlines()]
    assert begin == [
        'the head: traced_with is {"torch": "2.14.1"}, '[:46],
        "catalogued/failing has layers in the file, and cannot be traced"[:46],
        'catalogued/small.a: layers is [["stage.0", "1", '[:46],
        "catalogued/small.b is not in the file",
        "catalogued/small.c: params is 655, and in the file 1"[:46],
        'catalogued/small.c: summary is nothing, and in the file "??'[:46],
        "catalogued/gone is in the file, and the plugin does not list it"[:46],
    ]
    assert max(map(len, out.splitlines())) < LONGEST_LINE


def test_a_catalogue_of_another_format_version_can_be_built_again(built: Built, zoo: Zoo) -> None:
    rewrite(built, 0, lambda head: head.update(layerzoo=2, novelty=True))
    _, out, _ = zoo("list --plugin catalogued --format ids")
    assert out == ""
    assert "version 2 of the format, and this layerzoo reads 1" in zoo("plugin show catalogued")[1]
    zoo("catalogue build catalogued --jobs 1")
    assert len(zoo("list --plugin catalogued --format ids")[1].splitlines()) == 5


# ---------------------------------------------------------------- mistakes, reported before the long work


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("build catalouged", 3, "Nearest: catalogued"),
        ("build starter", 4, "the plugin 'starter' has no hook layerzoo_catalogue"),
        ("build catalogued --out nowhere/models.jsonl", 2, "nowhere/models.jsonl cannot be written: No such file"),
        ("build catalogued --out registry.yaml/models.jsonl", 2, "cannot be written: Not a directory"),
        ("build catalogued --out .", 2, "is a directory"),
        ("check catalogued --only small --only wied", 3, "no architecture 'wied'. Nearest: wide"),
        ("check catalogued", 2, "models.jsonl cannot be read: No such file or directory. Next: zoo catalogue build"),
    ],
)
def test_impossible_requests_are_reported(
    install_copy: InstallCopy, zoo: Zoo, home: Path, line: str, code: int, words: str
) -> None:
    install_copy("catalogued")
    (home / "registry.yaml").write_text("layerzoo: 1\n", encoding="utf-8")
    found, out, err = zoo(f"catalogue {line}")
    assert (found, out) == (code, "")
    assert words in err


def test_a_registry_file_without_a_catalogue_is_reported(install_copy: InstallCopy, zoo: Zoo) -> None:
    (install_copy("catalogued") / "registry.yaml").write_text("layerzoo: 1\nbuilders: [catalogued]\n", encoding="utf-8")
    code, _, err = zoo("catalogue build catalogued")
    assert code == 2
    assert "names no catalogue. Next: write `catalogue: models.jsonl` into it" in err


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("[]", "lists of models, by the name of their architecture, are wanted"),
        ("{}", "lists of models, by the name of their architecture, are wanted"),
        ("'small'", "lists of models, by the name of their architecture, are wanted"),
        ("{'small': []}", "small: a list of models is wanted"),
        ("{'small': model('small')}", "small: a list of models is wanted"),
        ("{'small': ['small']}", "a line of a catalogue is a JSON object with the model's \"id\", not 'small'"),
        ("{'small': [{'modality': 'vision'}]}", 'a line of a catalogue is a JSON object with the model\'s "id"'),
        ("{'small': [model('a b')]}", "'a b' is not a valid id"),
        ("{'small': [model('a', licence='mit')]}", "catalogued/a: unknown key 'licence'. Nearest: license"),
        ("{'small': [model('a', modality='smell')]}", "catalogued/a: modality: 'smell' is not possible here"),
        ("{'small': [model('a')], 'wide': [model('a')]}", "the model catalogued/a is declared a second time here"),
        ("{'small': [model('a', aliases=['b', 'b'])]}", "the alias 'catalogued/b' is declared a second time here"),
        ("{'small': [model('a', layers={'stem': '0'}, params=1)]}", "a: layers and params must not be said"),
        ("{'small': [model('a', base='toy/next-word')]}", "a: base must not be said"),
        ("{'small': [model('a', weights=Path('here'))]}", "it is not valid JSON: Object of type PosixPath"),
        ("{'small': [model('a', args={'width': float('nan')})]}", "it is not valid JSON: "),
        ("{'small': [model('a'), model('c d'), model('e', at=1)]}", "(and 1 more)"),
    ],
)
def test_an_invalid_list_is_reported_as_an_error_of_the_plugin(
    install_copy: InstallCopy, zoo: Zoo, home: Path, listed: str, words: str
) -> None:
    add(install_copy("catalogued"), f"MODELS = {listed}\n")
    code, _, err = zoo("catalogue build catalogued --out models.jsonl")
    assert code == 4
    assert words in err
    assert "the plugin 'catalogued'" in err
    assert not (home / "models.jsonl").exists()
