"""pip installs, upgrades and uninstalls a real wheel: the next result is right, also in a running program."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.distributions import ROOT, Installation, empty_installation, install

ASKED_AGAIN = """
import sys
import layerzoo
for _ in sys.stdin:
    print(*(spec.id for spec in layerzoo.models() if spec.id.startswith("nut/")), flush=True)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path, cache: Path) -> Installation:
    """Create an environment with this layerzoo. All environments share one cache."""
    return environment_in(tmp_path / "one", cache)


def environment_in(folder: Path, cache: Path) -> Installation:
    folder.mkdir()
    installation = empty_installation(folder)
    site = Path(installation.program("import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / "beside.pth").write_text(f"{ROOT / 'src'}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return installation._replace(environment={**installation.environment, "LAYERZOO_CACHE": str(cache)})


@pytest.fixture
def program(environment: Installation) -> Iterator[subprocess.Popen[str]]:
    """A program that keeps running while packages are installed, and answers each line with a line."""
    command = [environment.python, "-c", ASKED_AGAIN]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment.environment,
        cwd=environment.home,
    ) as child:  # fmt: skip
        yield child
        assert child.stdin is not None
        child.stdin.close()


def wheel(folder: Path, version: str, model: str, *, distribution: str = "nut-zoo") -> Path:
    """Return the wheel of a plugin with the namespace 'nut', which declares one model."""
    declared = "{modality: text, builder: toy, preprocess: {max_tokens: 8}}"
    package = distribution.replace("-", "_")
    path = folder / f"{package}-{version}-py3-none-any.whl"
    info = f"{package}-{version}.dist-info"
    files = {
        f"{package}/__init__.py": "",
        f"{package}/registry.yaml": f"layerzoo: 1\nmodels: {{{model}: {declared}}}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[layerzoo]\nnut = {package}\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, content)
    return path


def uninstall(installation: Installation) -> None:
    command = [sys.executable, "-m", "pip", "--python", installation.python, "uninstall", "--quiet", "--yes", "nut-zoo"]
    subprocess.run(command, check=True, capture_output=True)


def listed(installation: Installation) -> list[str]:
    """Return the models of the plugin that `zoo list` finds in a separate process."""
    shown = installation.program("from layerzoo.cli import main; main(['list', '--format', 'json'])")
    return [spec["id"] for spec in json.loads(shown) if spec["id"].startswith("nut/")]


def answered(program: subprocess.Popen[str]) -> list[str]:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("\n")
    program.stdin.flush()
    return program.stdout.readline().split()


def test_installing_with_pip_is_seen_immediately(
    environment: Installation, program: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert listed(environment) == answered(program) == []
    for version, model in (("1.0", "hazel"), ("2.0", "brazil")):
        install(environment, "--no-index", wheel(tmp_path, version, model))
        assert answered(program) == listed(environment) == [f"nut/{model}"]
    uninstall(environment)
    assert answered(program) == listed(environment) == []


def test_a_reinstalled_version_is_seen_immediately(
    environment: Installation, program: subprocess.Popen[str], tmp_path: Path
) -> None:
    for model in ("hazel", "pecan"):
        install(environment, "--no-index", "--force-reinstall", wheel(tmp_path, "1.0", model))
        assert answered(program) == listed(environment) == [f"nut/{model}"]


def test_environments_that_share_a_cache_have_their_own_plugins(
    environment: Installation, cache: Path, tmp_path: Path
) -> None:
    other = environment_in(tmp_path / "two", cache)
    install(other, "--no-index", wheel(tmp_path, "1.0", "hazel"))
    for _ in range(2):
        assert listed(environment) == []
        assert listed(other) == ["nut/hazel"]


def test_a_plugin_under_another_name_replaces_its_index_and_its_traces(
    environment: Installation, tmp_path: Path
) -> None:
    layers = "from layerzoo.cli import main; main(['layers', '--trace', 'nut/hazel'])"
    declared_by = "import layerzoo; print(layerzoo.model('nut/hazel').plugin)"
    has_trace = "import layerzoo; from layerzoo.facts import traced_layers; "
    has_trace += "print(traced_layers(layerzoo.model('nut/hazel')) is not None)"

    install(environment, "--no-index", wheel(tmp_path, "1.0", "hazel"))
    environment.program(layers)
    assert (environment.program(declared_by), environment.program(has_trace)) == ("nut-zoo", "True")

    uninstall(environment)
    install(environment, "--no-index", wheel(tmp_path, "1.0", "hazel", distribution="layerzoo-nut"))
    assert (environment.program(declared_by), environment.program(has_trace)) == ("layerzoo-nut", "False")
