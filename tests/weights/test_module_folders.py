"""A plugin's folders.toml declares which files of a repository name folders with further files of the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerzoo.errors import UnsafeWeightsError
from layerzoo.weights.modules import FolderRule, module_folders

MODULES = [{"path": ""}, {"path": "1_Router"}, {"path": "./2_Dense/"}, {"path": 3}, {"type": "Normalize"}]
ROUTER = {"structure": {"query": ["query_0"]}, "types": {"query_0": "Transformer", "inner": "Router"}}


def folders(root: Path, files: dict[str, object]) -> tuple[str, ...]:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return module_folders(lambda name: root / name)


def test_the_modules_of_sentence_transformers_and_of_their_routers_are_folders(tmp_path: Path):
    files = {"modules.json": MODULES, "1_Router/router_config.json": ROUTER, "1_Router/inner/config.json": ROUTER}
    found = folders(tmp_path, files)
    assert found[:4] == ("1_Router", "1_Router/query_0", "1_Router/inner", "1_Router/inner/query_0")
    assert found[-1] == "2_Dense"


@pytest.mark.parametrize("content", [{}, {"path": "x"}, "x", None, [], [[]], [{"path": None}], [{"path": "."}]])
def test_a_file_of_another_form_names_no_folder(content: object, tmp_path: Path):
    assert folders(tmp_path, {"modules.json": content}) == ()


def test_a_router_of_another_form_names_no_folder(tmp_path: Path):
    files = {"modules.json": [{"path": "1_Dense"}], "1_Dense/config.json": {"types": {"x": "y"}}}
    assert folders(tmp_path, files) == ("1_Dense",)


def test_routers_in_routers_are_followed_to_a_fixed_depth(tmp_path: Path):
    nested = {"/".join(["r"] * depth) + "/config.json": {**ROUTER, "types": {"r": "Router"}} for depth in range(1, 20)}
    assert len(folders(tmp_path, {"modules.json": [{"path": "r"}], **nested})) == 5


@pytest.mark.parametrize("path", ["..", "../other", "a/../../b"])
def test_a_folder_outside_of_the_model_is_refused(path: str, tmp_path: Path):
    with pytest.raises(UnsafeWeightsError):
        folders(tmp_path, {"modules.json": [{"path": path}]})


def test_a_rule_reads_at_most_a_hundred_folders():
    assert len(FolderRule(("modules.json",), items="path").names([{"path": str(n)} for n in range(1000)]) or ()) == 100
