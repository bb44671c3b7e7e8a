"""The engine of the checks: expected failures, gaps, targets that are not installed, and the tests for pytest."""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
import torch
from tools.mutants.catching import report_in
from tools.mutants.making import Edit, Mutant, write_plugin

from layerzoo.conformance import engine
from layerzoo.conformance.codes import CHECKS, TIERS, codes_of
from layerzoo.conformance.junit import junit
from layerzoo.conformance.packaging import is_packaged
from layerzoo.conformance.report import Finding, Report, Result
from layerzoo.conformance.source import hook_functions
from layerzoo.conformance.target import expected_of, opened
from layerzoo.errors import NotFoundError, UsageError
from layerzoo.testing import BackboneConformance, kit

WITHOUT_LICENSE = Mutant("", "static-license", "vision", (Edit("registry.yaml", "    license: mit\n", ""),))
REASON = "the publisher has not decided"


@pytest.fixture
def unlicensed(tmp_path: Path) -> Path:
    """Return the project of a plugin whose model has weights, and no license."""
    write_plugin("vision", tmp_path / "project", WITHOUT_LICENSE)
    return tmp_path / "project"


WITH_WRONG_AXES = Mutant(
    "", "shape-axes", "vision", (Edit("registry.yaml", "axes: batch channel, shape: [5]", "axes: batch token channel"),)
)
WITHOUT_A_LAYER = Mutant("", "shape-layers", "vision", (Edit("registry.yaml", "{module: norm,", "{module: other,"),))


def declare(project: Path, text: str) -> None:
    (project / "src/acme_zoo/conformance.toml").write_text(text, encoding="utf-8")


def test_every_check_has_a_function_and_every_function_a_check() -> None:
    assert {*engine.plugin_codes(), *engine.model_codes()} == set(CHECKS)
    assert {code for tier in TIERS for code in engine._functions(tier)} == set(CHECKS)
    assert [code for tier in TIERS for code in codes_of(tier)] == list(CHECKS)


def test_an_expected_failure_is_no_finding(unlicensed: Path) -> None:
    assert [finding.code for finding in report_in(unlicensed, ["static"]).findings] == ["static-license"]
    declare(unlicensed, f'[expected-failures]\nstatic-license = "{REASON}"\n')
    report = report_in(unlicensed, ["static"])
    assert report.is_good
    assert [(each.code, each.reason) for each in report.results if each.outcome == "expected"] == [
        ("static-license", REASON)
    ]


def test_an_expected_failure_that_passes_is_a_finding(unlicensed: Path) -> None:
    declare(unlicensed, f'[expected-failures]\nstatic-license = "{REASON}"\n"static-pin:acme/vit" = "{REASON}"\n')
    (finding,) = report_in(unlicensed, ["static"]).findings
    assert (finding.code, finding.model) == ("static-pin", "acme/vit")
    assert finding.cause == f"static-pin was declared to fail ({REASON}), and it passes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[expected-failures]\nlaw-cutt = "x"', "there is no check 'law-cutt'"),
        ('[expected-failures]\nlaw-cut = ""', "every expected failure needs a reason"),
        ("[other]", "conformance.toml: 'expected-failures'"),
        ("[", "conformance.toml: "),
    ],
)
def test_a_wrong_declaration_of_expected_failures_is_refused(unlicensed: Path, text: str, message: str) -> None:
    declare(unlicensed, text)
    with pytest.raises(UsageError, match=message):
        report_in(unlicensed, ["static"])


def test_an_expected_failure_may_be_declared_for_one_model() -> None:
    declared = {"law-cut:acme/one": "a", "law-order": "b"}
    assert expected_of(declared, "acme/one") == {"law-cut": "a", "law-order": "b"}
    assert expected_of(declared, "acme/two") == {"law-order": "b"}


def test_a_run_without_any_result_is_no_success() -> None:
    assert Report().gaps == ["nothing was collected: there is no plugin and no model to check"]
    assert not Report().is_good


@pytest.mark.parametrize("inside", ["", "src", "src/acme_zoo", "src/acme_zoo/registry.yaml"])
def test_a_project_is_found_from_any_of_its_folders(tmp_path: Path, inside: str) -> None:
    write_plugin("transform", tmp_path / "project")
    with opened(str(tmp_path / "project" / inside)) as target:
        assert [model.model for model in target.models] == ["acme/pixels"]
        assert target.models[0].declared_at is not None
    assert not [name for name in sys.modules if name.startswith("acme_zoo")]
    assert not [folder for folder in sys.path if str(tmp_path) in folder]


def test_a_wheel_is_checked_without_installing_it(tmp_path: Path) -> None:
    package = write_plugin("transform", tmp_path / "project")
    wheel = tmp_path / "acme_zoo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in package.glob("*.*"):
            archive.write(file, f"acme_zoo/{file.name}")
        archive.writestr("acme_zoo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme-zoo\nVersion: 1.0\n")
        archive.writestr("acme_zoo-1.0.dist-info/entry_points.txt", "[layerzoo]\nacme = acme_zoo\n")
    with opened(str(wheel)) as target:
        report = engine.run(target.plugins, target.models, tiers=["static", "shape"])
    assert report.findings == []
    assert report.counts["ran"] > 10


def test_a_folder_without_a_plugin_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the folder of a plugin"), opened(str(tmp_path)):
        pass
    with pytest.raises(NotFoundError, match="starter"), opened("startr"):
        pass
    with pytest.raises(NotFoundError, match="there is no model 'starter/no'"), opened("starter/no"):
        pass


@pytest.mark.parametrize("path", ["./nothere", "../no/zoo", "/no/zoo", "~/no-zoo", "no-zoo/", "no/zoo/"])
def test_a_path_without_a_folder_is_not_taken_for_a_model(path: str) -> None:
    with pytest.raises(NotFoundError, match=f"there is no folder {path}\\. Next: zoo plugin new"), opened(path):
        pass
    with (
        pytest.raises(NotFoundError, match=f"there is no file {path}registry.yaml\\. "),
        opened(f"{path}registry.yaml"),
    ):
        pass


def test_a_wheel_leaves_out_what_its_backend_excludes(tmp_path: Path) -> None:
    file = write_plugin("vision", tmp_path / "project") / "weights.safetensors"
    project = tmp_path / "project"

    def packaged(text: str) -> bool | None:
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "acme-zoo"\nversion = "1"\n{text}', encoding="utf-8"
        )
        return is_packaged(project, file)

    hatch = (
        '[build-system]\nbuild-backend = "hatchling.build"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/acme_zoo"]\n'
    )
    setuptools = '[build-system]\nbuild-backend = "setuptools.build_meta"\n'
    assert packaged(hatch) is True
    assert packaged(f'{hatch}exclude = ["*.safetensors"]') is False
    assert packaged(setuptools) is False
    assert packaged(f'{setuptools}[tool.setuptools.package-data]\nacme_zoo = ["*.safetensors"]') is True
    assert packaged('[build-system]\nbuild-backend = "other.api"') is None


def test_the_network_of_a_model_is_built_for_the_first_check_and_freed_after_the_last() -> None:
    with opened("toy") as target:
        (model,) = target.models
        engine.check("law-finite", model)
        first = model.shared["shape-build"]
        assert first.outcome == "passed"
        engine.run(target.plugins, target.models, tiers=["shape", "law"])
        assert model.shared["shape-build"] is first
        assert not {"tracer", "network", "backbone", "reference", "alone"} & vars(model).keys()


@pytest.mark.parametrize(
    ("mutant", "reason"),
    [
        (WITH_WRONG_AXES, "its layers do not have the declared axes: mend shape-axes first"),
        (WITHOUT_A_LAYER, "its declared layers do not run: mend shape-layers first"),
    ],
)
def test_layers_that_are_not_as_declared_have_one_finding(mutant: Mutant, reason: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    write_plugin("vision", project, mutant)
    report = report_in(project, ["shape", "law"])
    assert [finding.code for finding in report.findings] == [mutant.code]
    assert {each.reason for each in report.results if each.code in codes_of("law")} == {reason}
    assert report.gaps == []
    declare(project, f'[expected-failures]\n{mutant.code} = "{REASON}"\n')
    accepted = report_in(project, ["shape", "law"])
    assert accepted.gaps == [f"acme/vit: no check of the tier law ran ({reason})"]
    assert not accepted.is_good


@pytest.mark.parametrize(
    ("line", "code", "cause", "fix"),
    [
        (
            'socket.create_connection(("192.0.2.1", 9))',
            "static-network",
            "the code of the plugin asks for a connection to 192.0.2.1, and is refused",
            CHECKS["static-network"].fix,
        ),
        ("import no_such_module", "shape-build", "the plugin 'acme' failed in layerzoo_build", "correct "),
    ],
)
def test_a_module_that_fails_in_a_hook_is_reported_at_its_line(
    line: str, code: str, cause: str, fix: str, tmp_path: Path
) -> None:
    future = "from __future__ import annotations\n"
    edits = (Edit("network.py", future, f"{future}\nimport socket\n{line}\n"),)
    package = write_plugin("vision", tmp_path / "project", Mutant("", code, "vision", edits))
    number = (package / "network.py").read_text(encoding="utf-8").splitlines().index(line) + 1
    (found,) = report_in(tmp_path / "project", ["shape"]).findings
    assert found.code == code
    assert found.place == f"{package / 'network.py'}:{number}"
    assert found.cause.startswith(cause)
    assert found.fix.startswith(fix)


def test_random_features_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mixed = "        mixed: Tensor = x + self.down("
    dropout = Edit("network.py", mixed, f"        x = functional.dropout(x, 0.1)\n{mixed}")
    write_plugin("vision", tmp_path / "project", Mutant("", "law-determinism", "vision", (dropout,)))
    with caplog.at_level("WARNING", "layerzoo"):
        report = report_in(tmp_path / "project", ["law"])
    assert "law-determinism" in {found.code for found in report.findings}
    (record,) = caplog.records
    assert "features at block.0, block.1, norm, head are random" in record.getMessage()


def test_a_missing_checkpoint_is_named_as_the_file_of_the_project(tmp_path: Path) -> None:
    source = '"package://acme-zoo/acme_zoo/gone.safetensors"'
    missing = Mutant("", "weights-available", "vision", (Edit("registry.yaml", '"file:weights.safetensors"', source),))
    package = write_plugin("vision", tmp_path / "project", missing)
    (found,) = report_in(tmp_path / "project", ["weights"]).findings
    assert found.cause.endswith(f"there is no file {package / 'gone.safetensors'}")
    assert found.fix == "Write the checkpoint to this file, or correct `source:` of `weights:`."


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("spec, files", ("spec", "files")),
        ("spec, size=3", ("spec",)),
        ("spec, *, size=3", ("spec",)),
        ("spec, size=3, *, files", ("spec", "files")),
    ],
)
def test_an_argument_of_a_hook_with_a_default_need_not_be_given(arguments: str, needed: tuple[str, ...]) -> None:
    (hook,) = hook_functions(ast.parse(f"def layerzoo_build({arguments}): ..."))
    assert hook.arguments == needed


def test_a_file_name_of_any_bytes_is_valid_in_a_junit_report() -> None:
    found = Finding(code="law-cut", plugin="acme", place="\udce9\x1b.py:3", cause="", fix="")
    text = junit(Report((Result(code="law-cut", plugin="acme", outcome="failed", findings=(found,)),)))
    assert ElementTree.fromstring(text.encode()).findtext(".//failure") == "\\udce9\\x1b.py:3: \nNext: "


class _Toy(BackboneConformance):
    plugin = "toy"
    expected_failures: ClassVar = {"law-cut": REASON, "law-order:toy/next-word": REASON}


def test_a_test_of_the_kit_reports_the_result_of_its_check() -> None:
    toy = _Toy()
    assert toy._models() == ["toy/next-word"]
    toy.test_models_are_collected()
    toy.test_model("toy/next-word", "law-many")
    with pytest.raises(pytest.skip.Exception, match="it takes no audio"):
        toy.test_model("toy/next-word", "preprocess-rate")
    with pytest.raises(pytest.fail.Exception, match=f"law-cut was declared to fail \\({REASON}\\), and it passes"):
        toy.test_model("toy/next-word", "law-cut")


def test_two_classes_may_test_one_model_with_arrays() -> None:
    for tokens in ([1, 2, 4, 6], [1, 3, 5]):

        class OfTokens(BackboneConformance):
            plugin = "toy"
            inputs: ClassVar = {"toy/next-word": [torch.tensor(tokens)]}

        OfTokens().test_model("toy/next-word", "law-finite")
        assert kit._latest[0].row.total == len(tokens)


def test_a_model_of_another_plugin_cannot_be_tested() -> None:
    class Wrong(BackboneConformance):
        plugin = "toy"
        models = ("starter/minilm-l6",)

    with pytest.raises(UsageError, match="toy has no model starter/minilm-l6"):
        Wrong()._models()
