"""Finding models by patterns of ids, short names, tasks, training data and languages."""

from __future__ import annotations

from pathlib import Path

import pytest

import layerzoo
from layerzoo.errors import UnknownModelError, UsageError
from layerzoo.registry import Environment, Installed, Registry

DECLARED = """
layerzoo: 1
models:
  vit-tiny: {modality: vision, builder: toy, tasks: [image-classification], trained_on: [imagenet-21k, imagenet-1k]}
  mine/acme/ViT-tiny.v2: {modality: vision, builder: toy, tasks: [image-segmentation, depth-estimation]}
  vit-base: {modality: vision, builder: toy}
  words-de: {modality: text, builder: toy, languages: [de], tasks: [fill-mask]}
  heir: {modality: text, base: words-de, weights: {source: "file:x", sha256: %s}}
aliases: {fav: mine/vit-base, best: fav, lost: mine/nothing}
""" % ("0" * 64)


@pytest.fixture
def zoo(tmp_path: Path) -> Registry:
    (tmp_path / "registry.yaml").write_text(DECLARED, encoding="utf-8")
    core = Installed(
        namespace="toy", distribution="layerzoo", version="0.1.0", module="layerzoo.testing.toy",
        folder=str(Path(__file__).parents[2]),
    )  # fmt: skip
    return Registry(Environment((core,), (str(tmp_path / "registry.yaml"),)), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("vit*", ["mine/acme/ViT-tiny.v2", "mine/vit-base", "mine/vit-tiny"]),  # after a slash, in any case
        ("vit*tiny*", ["mine/acme/ViT-tiny.v2", "mine/vit-tiny"]),
        ("*v2", ["mine/acme/ViT-tiny.v2"]),
        ("acme/*", ["mine/acme/ViT-tiny.v2"]),
        ("mine/vit-?ase", ["mine/vit-base"]),
        ("vit-[bt]*", ["mine/acme/ViT-tiny.v2", "mine/vit-base", "mine/vit-tiny"]),
        ("vit-[!b]*", ["mine/acme/ViT-tiny.v2", "mine/vit-tiny"]),
        ("vit-tiny", ["mine/vit-tiny"]),
        ("vit", []),
        ("be?t", ["mine/vit-base"]),  # an alias of an alias
        ("lost", []),
        ("'", []),
        ("[", []),
    ],
)
def test_a_pattern_selects_ids_and_aliases(zoo: Registry, pattern: str, ids: list[str]) -> None:
    assert [spec.id for spec in zoo.models(pattern)] == zoo.ids(pattern=pattern) == ids
    assert zoo.count(pattern=pattern) == len(ids)


def test_a_pattern_is_one_filter_of_several(zoo: Registry) -> None:
    assert zoo.ids(pattern="vit*", task="depth-estimation") == ["mine/acme/ViT-tiny.v2"]
    assert zoo.ids(pattern="vit*", text="depth") == ["mine/acme/ViT-tiny.v2"]


@pytest.mark.parametrize("pattern", ["", "x" * 501, 7])
def test_a_pattern_that_can_match_nothing_is_refused(zoo: Registry, pattern: str) -> None:
    with pytest.raises(UsageError, match=r"a pattern of ids|pattern: an object of type int is not a text"):
        zoo.models(pattern)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("vit-tiny", "mine/vit-tiny"),
        ("ViT-tiny.v2", "mine/acme/ViT-tiny.v2"),
        ("acme/ViT-tiny.v2", "mine/acme/ViT-tiny.v2"),
        ("next-word", "toy/next-word"),
        ("best", "mine/vit-base"),
        ("heir", "mine/heir"),
    ],
)
def test_the_end_of_an_id_is_its_name(zoo: Registry, name: str, id: str) -> None:
    assert zoo.model(name).id == id


@pytest.mark.parametrize("name", ["tiny", "mine/ViT-tiny.v2", "/vit-tiny", "vit-tiny/", "toy/vit-tiny", "vit%", ""])
def test_no_other_part_of_an_id_is_a_name(zoo: Registry, name: str) -> None:
    with pytest.raises(UnknownModelError):
        zoo.model(name)


def test_short_names_work_wherever_a_model_is_named(home: Path) -> None:
    assert layerzoo.model("minilm-l6").id == "starter/minilm-l6"
    assert layerzoo.model("resnet50d").id == "timm/resnet50d.ra2_in1k"
    with pytest.raises(UnknownModelError, match=r"ambiguous: timm/resnet50\.a1_in1k, torchvision/resnet50"):
        layerzoo.model("resnet50")
    assert layerzoo.model("google-bert/bert-base-uncased").id == "hf/google-bert/bert-base-uncased"
    assert layerzoo.load("next-word").spec.id == "toy/next-word"
    assert layerzoo.extract("next-word", ["the cat"]).values.tolist() == [[0.5, 1.0, 0.5]]


def test_a_short_name_of_several_models_is_refused(tmp_path: Path, zoo: Registry) -> None:
    with (tmp_path / "registry.yaml").open("a", encoding="utf-8") as file:
        file.write("disable: [mine/words-de]\n")
    again = Registry(zoo.environment, cache=tmp_path / "cache")
    assert again.model("vit-tiny").id == "mine/vit-tiny"
    text = DECLARED.replace("  vit-base:", "  mine/other/vit-tiny: {modality: text, builder: toy}\n  vit-base:")
    (tmp_path / "registry.yaml").write_text(text, encoding="utf-8")
    several = Registry(zoo.environment, cache=tmp_path / "cache")
    with pytest.raises(
        UnknownModelError, match="'vit-tiny' is ambiguous: mine/other/vit-tiny, mine/vit-tiny"
    ) as caught:
        several.model("vit-tiny")
    assert caught.value.nearest == ("mine/other/vit-tiny", "mine/vit-tiny")


def test_tasks_training_data_and_languages_are_filters(zoo: Registry) -> None:
    assert zoo.ids(task="image-segmentation") == ["mine/acme/ViT-tiny.v2"]
    assert zoo.ids(task="Image Classification") == zoo.ids(trained_on="imagenet-1k") == ["mine/vit-tiny"]
    assert zoo.ids(task="image") == []
    assert zoo.ids(language="de") == zoo.ids(language="German") == ["mine/heir", "mine/words-de"]  # one inherits it
    assert set(zoo.ids(text="german")) == {"mine/heir", "mine/words-de"}
    (entry,) = zoo.entries(trained_on="imagenet-21k")
    assert (entry.trained_on, entry.languages) == (("imagenet-21k", "imagenet-1k"), ())


def test_models_that_do_not_declare_a_value_are_counted(zoo: Registry) -> None:
    assert zoo.undeclared(task="fill-mask", plugin="mine") == {"task": 1}
    assert zoo.undeclared(plugin="mine") == {}
    assert all(zoo.tags(facet) for facet in ("languages", "tasks", "trained_on"))


def test_the_catalogues_state_what_they_know(index: Path) -> None:
    from layerzoo.registry.installed.environment import core, scan

    zoo = Registry(Environment((core(), *scan()), ()), cache=index)
    spec = zoo.model("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert (spec.tasks, spec.trained_on) == (("image-classification",), ("imagenet-21k", "imagenet-1k"))
    assert zoo.model("hf/openai/clip-vit-base-patch32").tasks == ("zero-shot-image-classification",)
    assert zoo.model("hf/openai/whisper-tiny").languages == ("multilingual",)
    assert "hf/almanach/camembert-base" in zoo.ids(language="fr")
    assert zoo.undeclared(language="fr")["language"] > 100
