"""Loading one plugin at a time: a failing plugin affects no other, fails once, and leaves no traces."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from layerzoo.errors import PluginError, WeightsError
from layerzoo.plugins import hookspecs
from layerzoo.plugins.loader import hooks
from layerzoo.registry import PluginManifest, registry
from layerzoo.registry.installed.plugin import State
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo.weights import Files

Install = Callable[..., None]
NewPlugin = Callable[[str], PluginManifest]

SPEC = ModelSpec(id="acme/net", modality="text", builder="acme", args=FrozenMap({"width": 3}))


@pytest.fixture
def new_plugin(home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> NewPlugin:
    """Create a package for this test with some code, and a helper module next to it."""

    def make(code: str) -> PluginManifest:
        name = f"zoo_{abs(hash(request.node.nodeid))}"
        (home / name).mkdir()
        (home / name / "__init__.py").write_text(textwrap.dedent(code), encoding="utf-8")
        (home / name / "helper.py").write_text("", encoding="utf-8")
        monkeypatch.syspath_prepend(home)
        return PluginManifest(namespace="acme", distribution="acme-zoo", version="1.0", module=name)

    return make


def test_a_hook_is_called_with_the_arguments_it_asks_for(new_plugin: NewPlugin) -> None:
    manifest = new_plugin("""
        from layerzoo import hookimpl

        @hookimpl
        def layerzoo_describe(spec):
            return {"default": {"layer": spec.id}}

        @hookimpl
        def layerzoo_state_dict(tensors):
            return dict(tensors)
        """)
    acme = hooks(manifest)
    assert acme.describe(SPEC, Files()) == {"default": {"layer": "acme/net"}}
    assert acme.state_dict(SPEC, Files(), {}) == {}


def test_a_missing_hook_returns_none(new_plugin: NewPlugin) -> None:
    acme = hooks(new_plugin(""))
    assert acme.build(SPEC, Files()) is None
    assert acme.preprocess(SPEC, Files()) is None
    assert acme.read_weights(SPEC, Files()) is None


def test_a_plugin_is_imported_once(new_plugin: NewPlugin, home: Path) -> None:
    manifest = new_plugin(f"open({str(home / 'log')!r}, 'a').write('x')")
    assert hooks(manifest) is hooks(manifest)
    assert (home / "log").read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import a_library_that_is_not_there", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
        ("raise OSError('libtorch.so: cannot open\\nmore')", "OSError: libtorch.so: cannot open"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("this is no Python", "SyntaxError: invalid syntax"),
        (
            "from layerzoo import hookimpl\n@hookimpl\ndef layerzoo_build(spec, colour): ...",
            "its hook layerzoo_build asks for colour, which is not given. Possible: spec, files",
        ),
        (
            "from layerzoo import hookimpl\n@hookimpl\ndef layerzoo_biuld(spec): ...",
            "PluginValidationError: unknown hook 'layerzoo_biuld'",
        ),
    ],
)
def test_any_exception_of_an_import_is_returned_as_a_value(
    new_plugin: NewPlugin, home: Path, code: str, cause: str
) -> None:
    log = home / "log"
    manifest = new_plugin("")
    package = home / manifest.module / "__init__.py"
    package.write_text(f"open({str(log)!r}, 'a').write('x')\nfrom . import helper\n{code}\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            hooks(manifest)
        assert str(caught.value).startswith(f"the plugin 'acme' (acme-zoo 1.0) cannot be used: {cause}")
        assert "\nNext: pip install " in str(caught.value)
        assert caught.value.plugin == "acme"
        assert caught.value.__cause__ is not None
    assert not [name for name in sys.modules if name.startswith(manifest.module)]
    # Invalid Python never ran; everything else ran once.
    assert not log.exists() or log.read_text(encoding="utf-8") == "x"


def test_ctrl_c_is_not_a_failure_of_the_plugin(new_plugin: NewPlugin, home: Path) -> None:
    flag = home / "flag"
    manifest = new_plugin(f"import os\nif not os.path.exists({str(flag)!r}): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        hooks(manifest)
    flag.touch()
    assert hooks(manifest).manifest == manifest


@pytest.mark.parametrize("raised", ["ValueError('odd')", "SystemExit('odd')"])
def test_an_exception_of_a_hook_names_plugin_hook_and_model(new_plugin: NewPlugin, raised: str) -> None:
    manifest = new_plugin(f"""
        from layerzoo import hookimpl

        @hookimpl
        def layerzoo_build(spec):
            raise {raised}
        """)
    with pytest.raises(PluginError, match=r"'acme' failed in layerzoo_build for acme/net: \w+: odd") as caught:
        hooks(manifest).build(SPEC, Files())
    assert type(caught.value.__cause__).__name__ == raised.partition("(")[0]


def test_a_layerzoo_error_passes_unchanged(new_plugin: NewPlugin) -> None:
    manifest = new_plugin("""
        from layerzoo import hookimpl
        from layerzoo.errors import WeightsError

        @hookimpl
        def layerzoo_build(spec):
            raise WeightsError("no such file")
        """)
    with pytest.raises(WeightsError, match="no such file"):
        hooks(manifest).build(SPEC, Files())


def test_one_broken_plugin_does_not_touch_another(install: Install) -> None:
    install("good", "raises")
    zoo = registry()
    with pytest.raises(PluginError, match="raising"):
        hooks(zoo.plugin("raising"))
    spec = zoo.model("acme/vit-shelf")
    network = hooks(zoo.builder_plugin(spec.builder)).build(spec, Files())
    assert network is not None
    assert [parameter.shape[-1] for parameter in network.parameters()] == [4, 2]


@pytest.mark.parametrize("raised", [SystemExit, TimeoutError])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_signal_during_an_import_is_not_a_failure_of_the_plugin(
    new_plugin: NewPlugin, home: Path, raised: type[BaseException], wrapped: bool
) -> None:
    """This also applies if the program has its own handler, and a library translates its exception."""
    manifest = new_plugin("")
    package = home / manifest.module / "__init__.py"

    def handle(*_: object) -> None:
        raise raised

    send = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    package.write_text(
        f"try:\n    {send}\nexcept BaseException as error:\n    raise RuntimeError from error\n" if wrapped else send,
        encoding="utf-8",
    )
    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(RuntimeError if wrapped else raised):
            hooks(manifest)
    finally:
        signal.signal(signal.SIGTERM, before)
    package.write_text("", encoding="utf-8")
    assert hooks(manifest).manifest == manifest  # it is tried again


def test_a_memory_error_is_not_a_failure_of_the_plugin(new_plugin: NewPlugin, home: Path) -> None:
    manifest = new_plugin("")
    package = home / manifest.module / "__init__.py"
    package.write_text("raise MemoryError", encoding="utf-8")
    with pytest.raises(PluginError, match="MemoryError\nNext: free memory"):
        hooks(manifest)
    package.write_text("", encoding="utf-8")
    assert hooks(manifest).manifest == manifest


def test_the_result_of_an_import_is_stored(install: Install) -> None:
    install("exits", "wrong_hook")
    zoo = registry()
    assert zoo.outcome(zoo.plugin("exiting")) is None
    with pytest.raises(PluginError):
        hooks(zoo.plugin("exiting"))
    outcome = zoo.outcome(zoo.plugin("exiting"))
    assert outcome is not None
    assert (outcome.state, outcome.cause) == ("failed", "SystemExit: no licence found")
    assert outcome.fix == "pip install -U exiting-zoo; until then: zoo plugin disable exiting"
    assert outcome.at.endswith("Z")


def test_a_stored_result_is_discarded_for_a_new_version(new_plugin: NewPlugin, home: Path) -> None:
    manifest = new_plugin("raise OSError")
    with pytest.raises(PluginError):
        hooks(manifest)
    assert registry().outcome(manifest) is not None
    newer = replace(manifest, version="2.0")
    assert registry().outcome(newer) is None
    (home / manifest.module / "__init__.py").write_text("", encoding="utf-8")
    hooks(newer)
    outcome = registry().outcome(newer)
    assert outcome is not None
    assert outcome.state == "ok"


@pytest.mark.parametrize("state", ["disabled", "invalid", "conflict"])
def test_a_plugin_with_an_invalid_declaration_is_not_imported(new_plugin: NewPlugin, home: Path, state: State) -> None:
    log = home / "log"
    manifest = replace(new_plugin(f"open({str(log)!r}, 'w')"), state=state, cause="so it is", fix="do this")
    with pytest.raises(PluginError, match=r"\(acme-zoo 1.0\) cannot be used: so it is\nNext: do this"):
        hooks(manifest)
    assert not log.exists()


def test_concurrent_threads_share_one_import(new_plugin: NewPlugin, home: Path) -> None:
    manifest = new_plugin(f"import time\ntime.sleep(0.1)\nopen({str(home / 'log')!r}, 'a').write('x')")
    found = []
    threads = [threading.Thread(target=lambda: found.append(hooks(manifest))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert (home / "log").read_text(encoding="utf-8") == "x"


def test_a_deprecated_hook_warns_once_with_its_replacement(
    new_plugin: NewPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = FutureWarning("layerzoo_dtype is deprecated. Next: return dtype from layerzoo_describe")
    monkeypatch.setitem(hookspecs.layerzoo_dtype.layerzoo_spec, "warn_on_impl", warning)  # type: ignore[attr-defined]
    manifest = new_plugin("""
        from layerzoo import hookimpl

        @hookimpl
        def layerzoo_dtype(spec):
            return "bfloat16"
        """)
    with pytest.warns(FutureWarning, match="return dtype from layerzoo_describe") as caught:
        acme = hooks(manifest)
    assert acme.dtype(SPEC, Files()) == hooks(manifest).dtype(SPEC, Files()) == "bfloat16"
    assert [Path(each.filename).parent.name for each in caught] == [manifest.module]
