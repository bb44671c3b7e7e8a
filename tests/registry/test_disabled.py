"""Plugins that the user disables: whatever fails in them, immediately, and until they are enabled."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerzoo.errors import NotFoundError, OutputError, PluginError, RegistryError, UnknownModelError, UsageError
from layerzoo.registry import Installed, PluginManifest, registry
from layerzoo.registry.installed.disabled import disable, disabled_path, enable, read_disabled
from layerzoo.registry.installed.environment import NO_PLUGINS, without_plugins

Install = Callable[..., None]

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
DISTRIBUTIONS = sorted(
    folder.name.removesuffix("-1.0.dist-info").replace("_", "-") for folder in ON_DISK.glob("*/*.dist-info")
)


def disable_here(name: str) -> list[str]:
    return [plugin.distribution for plugin in disable(name, registry().environment.plugins)]


def enable_here(name: str) -> list[str]:
    return enable(name, registry().environment.plugins)


def state_of(name: str) -> str:
    return registry().plugin(name).state


@pytest.mark.parametrize("name", ["acme", "acme-zoo", "Acme_Zoo"])
def test_a_disabled_plugin_is_a_row_and_nothing_else(install: Install, name: str) -> None:
    install("good")
    assert "acme/vit-shelf" in registry().ids()
    assert disable_here(name) == ["acme-zoo"]
    manifest = registry().plugin("acme")
    assert (manifest.state, manifest.models, manifest.fix) == ("disabled", 0, "zoo plugin enable acme")
    assert not [model for model in registry().ids() if model.startswith("acme/")]
    with pytest.raises(PluginError, match="'acme' cannot be used: you have disabled it\nNext: zoo plugin enable acme"):
        registry().model("acme/vit-shelf")
    assert "acme_zoo" not in sys.modules


@pytest.mark.parametrize("name", ["acme", "acme-zoo"])
def test_enabling_by_namespace_or_distribution_undoes_disabling(install: Install, name: str) -> None:
    install("good")
    before = registry().ids()
    disable_here("acme")
    assert enable_here(name) == ["acme"]
    assert registry().ids() == before
    assert enable_here(name) == []


def test_disabling_twice_changes_nothing(install: Install) -> None:
    install("good")
    disable_here("acme")
    text = disabled_path().read_text(encoding="utf-8")
    assert disable_here("acme-zoo") == []
    assert disabled_path().read_text(encoding="utf-8") == text


def test_every_change_is_seen_immediately(install: Install) -> None:
    install("good")
    for _ in range(5):
        disable_here("acme")
        assert state_of("acme") == "disabled"
        enable_here("acme")
        assert state_of("acme") == "ok"


def test_a_broken_plugin_can_be_disabled(install: Install) -> None:
    install(*(sample.name for sample in ON_DISK.iterdir()))
    for distribution in DISTRIBUTIONS:
        assert disable_here(distribution) == [distribution]
        assert state_of(distribution) == "disabled"
        assert enable_here(distribution) == [distribution]
        assert state_of(distribution) != "disabled"


def test_disabling_one_claimant_gives_the_namespace_to_the_other(install: Install) -> None:
    install("claimed_twice")
    assert state_of("shared") == "conflict"
    disable_here("first-zoo")
    assert (state_of("shared"), state_of("first-zoo"), state_of("second-zoo")) == ("ok", "disabled", "ok")
    assert registry().model("shared/net").plugin == "second-zoo"


def test_enabling_one_claimant_of_a_disabled_namespace_keeps_the_other_disabled(install: Install) -> None:
    install("claimed_twice")
    assert disable_here("shared") == ["first-zoo", "second-zoo"]
    assert registry().plugin("second-zoo").fix == "zoo plugin enable second-zoo"
    enable_here("second-zoo")
    assert (state_of("first-zoo"), state_of("second-zoo")) == ("disabled", "ok")


def test_an_unknown_name_names_the_nearest(install: Install) -> None:
    install("good")
    with pytest.raises(NotFoundError, match=r"there is no plugin 'acne'. Nearest: acme") as caught:
        disable_here("acne")
    assert caught.value.nearest[0] == "acme"
    with pytest.raises(NotFoundError, match="there is no plugin 'acne'"):
        enable_here("acne")
    assert not disabled_path().exists()


@pytest.mark.parametrize("name", ["toy", "layerzoo"])
def test_layerzoo_itself_cannot_be_disabled(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="layerzoo itself cannot be disabled"):
        disable_here(name)


def test_an_entry_of_an_uninstalled_plugin_is_reported_and_can_be_removed(home: Path) -> None:
    _write("# mine\ngone-zoo\n")
    (problem,) = registry().problems()
    assert str(problem) == (
        f"{disabled_path()}:2:1: 'gone-zoo' is disabled, but there is no such plugin. "
        "To remove the line: zoo plugin enable gone-zoo"
    )
    assert enable_here("gone-zoo") == ["gone-zoo"]
    assert registry().problems() == []
    assert disabled_path().read_text(encoding="utf-8") == "# mine\n"


def test_a_file_written_by_hand_keeps_its_comments(install: Install) -> None:
    install("good", "raises")
    _write("# why\n\nacme  # too slow\n")
    assert state_of("acme") == "disabled"
    disable_here("raising")
    enable_here("acme")
    assert disabled_path().read_text(encoding="utf-8") == "# why\n\nraising\n"


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a\n" * 60_000, "cannot be read: it is larger than 100 kB"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_file_disables_nothing_and_is_reported(
    install: Install, content: bytes | None, reported: str
) -> None:
    install("good")
    disabled_path().parent.mkdir(parents=True)
    if content is None:
        disabled_path().mkdir()
    else:
        disabled_path().write_bytes(content)
    (problem,) = registry().problems()
    assert f"the list of disabled plugins {reported}" in problem.message
    assert state_of("acme") == "ok"
    with pytest.raises(RegistryError, match=f"Correct or remove {disabled_path()}"):
        disable_here("acme")


def test_an_invalid_line_is_reported_with_its_position(install: Install) -> None:
    install("good")
    _write("acme\nraising zoo, please\n")
    (problem,) = registry().problems()
    assert (problem.line, problem.code) == (2, "syntax")
    assert "'raising zoo, please' is not the name of a plugin" in problem.message
    assert state_of("acme") == "disabled"


def test_a_folder_that_cannot_be_created_is_reported(install: Install, home: Path) -> None:
    install("good")
    (home.parent / "config").touch()
    with pytest.raises(OutputError, match=r"cannot be written: .* zoo --no-plugins") as caught:
        disable_here("acme")
    assert caught.value.path == disabled_path()
    assert state_of("acme") == "ok"


def test_a_symbolic_link_is_kept(install: Install, home: Path) -> None:
    install("good")
    (home / "mine.txt").touch()
    disabled_path().parent.mkdir(parents=True)
    disabled_path().symlink_to(home / "mine.txt")
    disable_here("acme")
    assert disabled_path().is_symlink()
    assert "acme" in (home / "mine.txt").read_text(encoding="utf-8")


# ---------------------------------------------------------------- invariant


names = st.sampled_from(["one", "two", "three", "one-zoo", "two-zoo", "three-zoo"])
installed = [
    Installed(namespace=name, distribution=f"{name}-zoo", version="1", module=name) for name in ("one", "two", "three")
]


@settings(max_examples=30)
@given(steps=st.lists(st.tuples(st.booleans(), names), max_size=12))
def test_the_last_entry_of_a_plugin_applies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, str]]
) -> None:
    expected: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for is_disabled, name in steps:
            (disable if is_disabled else enable)(name, installed)
            namespace = name.removesuffix("-zoo")
            expected = expected | {namespace} if is_disabled else expected - {namespace}
            found = read_disabled()
            assert {each.namespace for each in installed if found.covers(each)} == expected


# ---------------------------------------------------------------- without any plugin


def test_without_plugins_only_models_of_the_core_and_the_user_are_listed(install: Install, home: Path) -> None:
    install("good")
    (home / "registry.yaml").write_text("layerzoo: 1\nmodels: {net: {modality: text, builder: toy}}\n", "utf-8")
    with without_plugins():
        assert registry().ids() == ["mine/net", "toy/next-word"]
        assert [plugin.namespace for plugin in registry().plugins()] == ["toy"]
        assert registry().plugin("toy").version is not None
        with pytest.raises(UnknownModelError, match="because all plugins are ignored"):
            registry().model("acme/vit-shelf")
        with pytest.raises(NotFoundError, match="because all plugins are ignored"):
            registry().plugin("acme")
        with pytest.raises(PluginError, match="because all plugins are ignored"):
            registry().builder_plugin("acme")
    assert "acme/vit-shelf" in registry().ids()
    assert NO_PLUGINS not in os.environ


def test_the_environment_variable_excludes_plugins(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("good")
    for value, is_there in {"1": False, "0": True, "": True}.items():
        monkeypatch.setenv(NO_PLUGINS, value)
        assert ("acme/vit-shelf" in registry().ids()) == is_there


class RaisingFinder:
    """A finder that finds no module, and raises for metadata."""

    def find_spec(self, *_: object) -> None:
        return None

    def find_distributions(self, *_: object) -> list[PluginManifest]:
        raise ZeroDivisionError("a finder of another tool")


def test_a_raising_finder_affects_only_its_own_distributions(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("good")
    monkeypatch.setattr(sys, "meta_path", [RaisingFinder(), *sys.meta_path])
    assert state_of("acme") == "ok"
    with without_plugins():
        assert [plugin.namespace for plugin in registry().plugins()] == ["toy"]
        assert registry().plugin("toy").version is not None


def _write(text: str) -> None:
    disabled_path().parent.mkdir(parents=True, exist_ok=True)
    disabled_path().write_text(text, encoding="utf-8")
