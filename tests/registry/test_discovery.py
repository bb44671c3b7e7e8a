"""Plugins are found by their metadata, and none of their code runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerzoo.registry import Registry, registry
from layerzoo.registry.index.database import Database, KeptResults
from layerzoo.registry.installed.environment import discover

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
CHECKOUT = Path(__file__).parents[2]

Install = Callable[..., None]


@pytest.mark.parametrize(
    ("sample", "namespace", "state", "cause"),
    [
        ("good", "acme", "ok", None),
        ("half_valid", "half", "incomplete", "unknown key 'sumary'"),
        ("invalid_yaml", "torn", "invalid", "not valid YAML"),
        ("no_registry", "bare", "no registry file", "bare_zoo/registry.yaml"),
        ("too_new", "future", "unsupported", "version 2 of the format"),
        ("raises", "raising", "ok", None),
        ("exits", "exiting", "ok", None),
        ("crashes", "crashing", "ok", None),
        ("hangs", "hanging", "ok", None),
    ],
)
def test_the_state_of_a_manifest(install: Install, sample: str, namespace: str, state: str, cause: str | None) -> None:
    install(sample)
    manifest = registry().plugin(namespace)
    assert manifest.state == state
    assert (manifest.cause is None) if cause is None else (cause in str(manifest.cause))
    assert manifest.module not in sys.modules
    assert registry().model("toy/next-word")


def test_a_namespace_with_two_claimants_has_no_owner(install: Install) -> None:
    install("claimed_twice")
    claims = [plugin for plugin in registry().plugins() if plugin.namespace == "shared"]
    assert [claim.distribution for claim in claims] == ["first-zoo", "second-zoo"]
    for claim in claims:
        assert claim.state == "conflict"
        assert claim.cause == "the namespace is claimed by first-zoo 1.0 and second-zoo 1.0"
    assert not [model for model in registry().ids() if model.startswith("shared/")]


def test_a_missing_package_claims_no_namespace(home: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind = home / "site" / "old_acme_zoo-0.9.dist-info"
    left_behind.mkdir(parents=True)
    (left_behind / "METADATA").write_text("Metadata-Version: 2.1\nName: old-acme-zoo\nVersion: 0.9\n", encoding="utf-8")
    (left_behind / "entry_points.txt").write_text("[layerzoo]\nacme = old_acme_zoo\n", encoding="utf-8")
    monkeypatch.syspath_prepend(home / "site")
    install("good")
    assert (registry().plugin("acme").distribution, registry().plugin("acme").state) == ("acme-zoo", "ok")
    assert registry().plugin("old-acme-zoo").state == "not found"


@pytest.mark.parametrize(
    ("entry_point", "state", "cause"),
    [
        ("mine = acme_zoo", "conflict", "that of the user's own models"),
        ("toy = acme_zoo", "conflict", "that of layerzoo itself"),
        ("Acme! = acme_zoo", "invalid", "is not a valid namespace"),
        ("acme = acme_zoo.sub", "invalid", "must name a top-level package"),
        ("acme = acme_zoo:plugin", "invalid", "must name a top-level package"),
        ("acme = acme_zzz", "not found", "names 'acme_zzz', but there is no such package"),
        ("acme = sys", "not found", "names 'sys', but there is no such package"),
    ],
)
def test_an_invalid_entry_point_is_reported_with_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str, state: str, cause: str
) -> None:
    shutil.copytree(ON_DISK / "good", home / "site")
    (home / "site" / "acme_zoo-1.0.dist-info" / "entry_points.txt").write_text(
        f"[layerzoo]\n{entry_point}\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(home / "site")
    (manifest,) = [plugin for plugin in registry().plugins() if plugin.distribution == "acme-zoo"]
    assert manifest.state == state
    assert cause in str(manifest.cause)


def test_broken_metadata_of_another_distribution_does_not_matter(
    home: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in {"odd": b"\xff\xfe\x00", "empty": b""}.items():
        folder = home / "site" / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_bytes(content)
        (folder / "entry_points.txt").write_bytes(b"[layerzoo\n\xff")
    install("good")
    monkeypatch.syspath_prepend(home / "site")
    assert registry().plugin("acme").state == "ok"


def test_the_registry_file_of_the_core_is_not_a_user_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert str(CHECKOUT / "registry.yaml") not in discover(KeptResults(Database.in_memory())).user_files
    assert registry().plugin("toy").state == "ok"


def test_the_registry_file_of_a_plugin_is_not_a_user_file(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("good")
    monkeypatch.chdir(ON_DISK / "good" / "acme_zoo")
    assert Registry().problems() == []


def test_the_configuration_of_the_user_is_read(home: Path) -> None:
    folder = home.parent / "config" / "layerzoo"
    folder.mkdir(parents=True)
    (folder / "registry.yaml").write_text("layerzoo: 1\naliases: {word: toy/next-word}\n", encoding="utf-8")
    assert registry().model("word").id == "toy/next-word"


def test_the_first_distribution_on_the_path_shadows_others_with_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        site = home / version
        shutil.copytree(ON_DISK / "good", site)
        metadata = site / "acme_zoo-1.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text(encoding="utf-8").replace("1.0", version), encoding="utf-8")
        monkeypatch.syspath_prepend(site)
    assert (registry().plugin("acme").version, registry().plugin("acme").state) == ("2.0", "ok")
