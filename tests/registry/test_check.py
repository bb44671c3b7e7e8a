"""A registry file is checked in the context that it belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from layerzoo.errors import NotFoundError, RegistryError, UsageError
from layerzoo.registry import registry
from layerzoo.registry.check import check

ROOT = Path(__file__).parents[2]
ON_DISK = ROOT / "tests" / "plugins_on_disk"
OWN = [ROOT / "registry.yaml", *sorted(ROOT.glob("plugins/*/src/*/registry.yaml"))]

PLUGIN = "layerzoo: 1\nbuilders: [shop]\nmodels:\n  net: {modality: text, builder: shop}\naliases: {n: net}\n"
PROJECT = '[project]\nname = "shop-zoo"\n[project.entry-points.layerzoo]\nshop = "shop_zoo"\n'


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.parent.name)
def test_the_files_of_the_project_have_no_problems(home: Path, file: Path) -> None:
    assert check(str(file)) == []


def test_the_file_of_an_installed_plugin_has_its_namespace(install: Callable[..., None]) -> None:
    install("good")
    assert check(str(ON_DISK / "good" / "acme_zoo" / "registry.yaml")) == []


def test_a_plugin_in_development_is_identified_by_its_project_file(home: Path) -> None:
    package = home / "src" / "shop_zoo"
    package.mkdir(parents=True)
    (package / "registry.yaml").write_text(PLUGIN, encoding="utf-8")
    assert {problem.line for problem in check(str(package / "registry.yaml"))} == {2}
    (home / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    assert check(str(package / "registry.yaml")) == []
    (home / "pyproject.toml").write_text("[project", encoding="utf-8")
    assert {problem.code for problem in check(str(package / "registry.yaml"))} == {"unknown-key"}


def test_any_file_can_be_checked_for_a_given_namespace(home: Path) -> None:
    (home / "draft.yml").write_text(PLUGIN, encoding="utf-8")
    assert check("draft.yml", "shop") == []
    assert [problem.code for problem in check("draft.yml")] == ["unknown-key"]


def test_a_users_file_can_refer_to_installed_models_and_other_user_files(
    home: Path, install: Callable[..., None]
) -> None:
    install("good")
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels: {other: {modality: text, builder: toy}}\n", encoding="utf-8"
    )
    (home / "draft.yaml").write_text(
        "layerzoo: 1\naliases: {a: acme/vit-shelf, b: mine/other, c: mine/none}\n", encoding="utf-8"
    )
    (problem,) = check("draft.yaml")
    assert (problem.line, problem.column, problem.length) == (2, 48, 9)
    assert "mine/none" in problem.message


def test_disabled_plugins_cause_no_problem_in_a_plugins_file(home: Path, install: Callable[..., None]) -> None:
    install("good")
    (home / "registry.yaml").write_text("layerzoo: 1\ndisable: [acme/vit-shelf]\n", encoding="utf-8")
    assert check(str(ON_DISK / "good" / "acme_zoo" / "registry.yaml")) == []
    blamed = [problem.path for problem in registry().problems() if problem.model is None]
    assert blamed == []


def test_a_catalogue_is_checked_with_its_registry_file(home: Path) -> None:
    shutil.copytree(ON_DISK / "good" / "acme_zoo", home / "acme_zoo")
    with (home / "acme_zoo" / "models.jsonl").open("a", encoding="utf-8") as catalogue:
        catalogue.write('{"id": "late", "modality": "text", "base": "vit-shelff"}\n')
    (problem,) = check(str(home / "acme_zoo" / "registry.yaml"), "acme")
    assert (Path(problem.path).name, problem.line, problem.column) == ("models.jsonl", 4, 44)
    assert problem.nearest[0] == "acme/vit-shelf"
    with pytest.raises(UsageError, match=r"check the registry\.yaml that names it"):
        check(str(home / "acme_zoo" / "models.jsonl"))


def test_an_unreadable_file_is_a_problem(home: Path) -> None:
    (home / "registry.yaml").mkdir()
    (problem,) = check("registry.yaml")
    assert problem.code == "unreadable"
    assert "cannot be read" in problem.marked()


def test_a_missing_file_is_an_error(home: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file none\.yaml"):
        check("none.yaml")


def test_an_invalid_namespace_is_refused(home: Path) -> None:
    (home / "registry.yaml").write_text(PLUGIN, encoding="utf-8")
    with pytest.raises(UsageError, match="'Shop!' is not a valid namespace"):
        check("registry.yaml", "Shop!")


def test_the_error_for_an_invalid_model_shows_its_line(home: Path) -> None:
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  a: {modality: text, builder: toy, licence: mit}\n", encoding="utf-8"
    )
    with pytest.raises(RegistryError) as caught:
        registry().model("mine/a")
    assert caught.value.diagnostics[0].endswith(
        "    3 |   a: {modality: text, builder: toy, licence: mit}\n      |                                     ^^^^^^^"
    )


@pytest.mark.parametrize(
    ("head", "state", "kept"),
    [
        ("modells: {}", "incomplete", True),
        ("aliases: {'a b': net, good: net}", "incomplete", True),
        ("builders: [Bad Name, shop]", "incomplete", True),
        ("disable: [acme/net]", "incomplete", True),
        ("plugins: {}", "incomplete", True),
        ("aliases: [net]", "incomplete", True),
        ("catalogue: ../x.jsonl", "incomplete", True),
        ("builders: [shop]\nbuilders: [other]", "incomplete", True),
        ("requires: layerzoo>=99", "unsupported", False),
        ("requires: [1]", "invalid", False),
        ("a: [", "invalid", False),
    ],
)
def test_a_mistake_outside_of_the_models_keeps_the_models(
    home: Path, monkeypatch: pytest.MonkeyPatch, head: str, state: str, kept: bool
) -> None:
    shutil.copytree(ON_DISK / "good", home / "site")
    monkeypatch.syspath_prepend(home / "site")
    text = f"layerzoo: 1\nmodels: {{net: {{modality: text, builder: toy}}}}\n{head}\n"
    (home / "site" / "acme_zoo" / "registry.yaml").write_text(text, encoding="utf-8")
    assert registry().plugin("acme").state == state
    assert ("acme/net" in registry().ids()) == kept
    if "good" in head:
        assert registry().model("acme/good").id == "acme/net"
