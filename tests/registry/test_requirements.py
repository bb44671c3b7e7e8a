"""Requirements of a distribution that are not installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from layerzoo.registry.installed.health import unmet_requirements

Asking = Callable[..., str]


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Create an installed distribution with these lines in its metadata. Returns: its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(*lines: str, name: str = "asking-zoo") -> str:
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines])
        (folder / "METADATA").write_text(f"{text}\n", encoding="utf-8")
        return name

    return make


@pytest.mark.parametrize(
    ("lines", "unmet"),
    [
        ([], []),
        (["Requires-Dist: click"], []),
        (["Requires-Dist: click>=8"], []),
        (["Requires-Dist: click>=999"], ["click>=999"]),
        (["Requires-Dist: no-such-library"], ["no-such-library"]),
        (["Requires-Dist: no-such-library<2,>=1.5"], ["no-such-library<2,>=1.5"]),
        (['Requires-Dist: no-such-library; python_version < "3"'], []),
        (['Requires-Dist: no-such-library; python_version > "3"'], ["no-such-library"]),
        (['Requires-Dist: no-such-library; extra == "more"', "Provides-Extra: more"], []),
        (["Requires-Dist: no-such-library[fast]>=1"], ["no-such-library>=1"]),
        (["Requires-Dist: this is no requirement", "Requires-Dist: no-such-library"], ["no-such-library"]),
    ],
    ids=str,
)
def test_a_missing_requirement_is_named_as_pip_accepts_it(asking: Asking, lines: list[str], unmet: list[str]) -> None:
    assert [each.requirement for each in unmet_requirements(asking(*lines))] == unmet


def test_extras_of_a_requirement_are_resolved_recursively(asking: Asking) -> None:
    asking(
        'Requires-Dist: base-lib; extra != "never"',
        'Requires-Dist: fast-lib>=2; extra == "fast"',
        'Requires-Dist: slow-lib; extra == "slow"',
        'Requires-Dist: inner-zoo[fast]; extra == "all"',
        'Requires-Dist: inner-zoo[all]; extra == "fast"',
        name="inner-zoo",
    )
    unmet = unmet_requirements(asking("Requires-Dist: inner-zoo[all]"))
    assert [each.requirement for each in unmet] == ["fast-lib>=2"]


def test_the_message_names_the_installed_version(asking: Asking) -> None:
    missing, old = unmet_requirements(asking("Requires-Dist: no-such-library>=1", "Requires-Dist: click>=999"))
    assert str(missing) == "it requires no-such-library>=1, and it is not installed"
    assert str(old).startswith("it requires click>=999, and 8.")
    assert str(old).endswith(" is installed")


def test_an_uninstalled_distribution_has_no_requirements() -> None:
    assert unmet_requirements("no-such-distribution") == []
