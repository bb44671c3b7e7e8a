"""Repositories of the hub as models of a plugin that reads them: the queries, and the stored results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tests.hub import Hub

import layerzoo
from layerzoo.errors import PluginError, RepositoryError, UnidentifiedModelError, UnknownModelError
from layerzoo.registry import registry

SMALL = {"width": 4}


@pytest.fixture
def publish(connected: Hub, install: Callable[..., None]) -> Callable[..., Any]:
    """Put a network of some width into a repository, with the content of net.json."""
    install("reads_the_hub")

    def put(name: str, width: int, **printed: Any) -> Any:
        repository = connected.repository(name)
        tensors = {"0.weight": torch.ones(width, 3, 4, 4), "0.bias": torch.zeros(width)}
        repository.commit({"net.json": json.dumps({"width": width, **printed}), "model.safetensors": save(tensors)})
        return repository

    return put


def test_any_plugin_can_identify_a_repository(publish: Callable[..., Any]) -> None:
    publish("acme/net", 4)
    with pytest.raises(UnidentifiedModelError, match="zoo layers --trace reading/acme/net"):
        layerzoo.model("reading/acme/net")
    backbone = layerzoo.load("reading/acme/net", layer="module:0")
    assert backbone.layers[0].shape == (4, 2, 2)
    assert layerzoo.model("reading/acme/net").args.to_dict() == SMALL


def test_identified_facts_take_precedence_over_the_declaration(publish: Callable[..., Any]) -> None:
    publish("acme/wide", 6)
    assert layerzoo.model("reading/acme/wide").args.to_dict() == {"width": 8}
    backbone = layerzoo.load("reading/acme/wide", layer="module:0")
    assert backbone.layers[0].shape == (6, 2, 2)
    assert backbone.provenance["args"] == {"width": 6}
    assert backbone.provenance["preprocess"]["size_px"] == [8, 8]


def test_without_files_the_declaration_is_used(
    install: Callable[..., None], connected: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    install("reads_the_hub")
    backbone = layerzoo.load("reading/acme/wide", layer="module:0", weights="random:0")
    assert backbone.layers[0].shape == (8, 4, 4)
    assert "the configuration in its repository is unavailable" in caplog.text


def test_a_modified_spec_is_not_replaced_by_that_of_the_repository(publish: Callable[..., Any]) -> None:
    publish("acme/net", 4)
    layerzoo.load("reading/acme/net", layer="module:0")
    spec = layerzoo.model("reading/acme/net")
    larger = dataclasses.replace(spec.preprocess, size_px=(16, 16))
    changed = dataclasses.replace(spec, preprocess=larger)
    assert layerzoo.load(changed, layer="module:0").layers[0].shape == (4, 4, 4)


def test_a_result_is_stored_by_commit_and_renewed_for_other_versions(publish: Callable[..., Any], home: Path) -> None:
    commit = publish("acme/net", 4).at("main").revision
    layerzoo.load("reading/acme/net", layer="module:0")
    note = home.parent / f"cache/identified/reading/acme--net/{commit}.json"
    kept = json.loads(note.read_text())
    kept["models"][0]["args"]["width"] = 5
    note.write_text(json.dumps(kept))
    assert layerzoo.load("reading/acme/net", layer="module:0", weights="random:0").layers[0].shape == (5, 2, 2)
    note.write_text(json.dumps({**kept, "versions": {}}))
    assert layerzoo.load("reading/acme/net", layer="module:0").layers[0].shape == (4, 2, 2)
    assert [spec.id for spec in registry().found()] == ["reading/acme/net"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("vision", "answers str for reading/acme/odd, and not a list of models"),
        ([{"args": SMALL}], "does not fit: .*modality"),
        ([{"modality": "vision", "weights": "hf://acme/other"}], "weights must not be said"),
    ],
)
def test_an_invalid_result_is_an_error_of_the_plugin(publish: Callable[..., Any], answer: object, message: str) -> None:
    publish("acme/odd", 4, answer=answer)
    with pytest.raises(PluginError, match=message):
        layerzoo.load("reading/acme/odd")


@pytest.mark.parametrize("answer", [None, []])
def test_the_error_for_an_unidentified_repository_lists_its_files(publish: Callable[..., Any], answer: object) -> None:
    publish("acme/odd", 4, answer=answer)
    with pytest.raises(RepositoryError, match=r"holds no model that the plugin 'reading' knows.* there are: net.json"):
        layerzoo.load("reading/acme/odd")


@pytest.mark.parametrize("name", ["net", "acme/net/more", "acme/net@", "acme/..", "acme/net@a@b", "acme/net:Text"])
def test_other_names_are_not_repositories(install: Callable[..., None], connected: Hub, name: str) -> None:
    install("reads_the_hub")
    with pytest.raises(UnknownModelError, match="there is no model") as caught:
        layerzoo.load(f"reading/{name}")
    assert not isinstance(caught.value, UnidentifiedModelError)
    assert connected.requests == []


def test_a_misspelt_name_suggests_the_nearest(install: Callable[..., None], connected: Hub) -> None:
    install("reads_the_hub")
    with pytest.raises(UnidentifiedModelError, match="Nearest: reading/acme/wide"):
        layerzoo.model("reading/acme/wid")
