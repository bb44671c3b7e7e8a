"""Lookups: ids, aliases, bases, filters, and the errors for missing names."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.published import published

from layerzoo.errors import (
    NotFoundError,
    NotInstalledError,
    PluginError,
    RegistryError,
    UnknownModelError,
    UsageError,
)
from layerzoo.registry import Environment, Installed, Registry, registry
from layerzoo.registry.index.query import parse_filters
from layerzoo.registry.installed.environment import PUBLISHED
from layerzoo.spec import ImagePreprocess, VideoPreprocess

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
CORE = Path(__file__).parents[2]

Install = Callable[..., None]


def _plugin(name: str, namespace: str, module: str) -> Installed:
    folder = str(ON_DISK / name / module)
    return Installed(namespace=namespace, distribution=f"{namespace}-zoo", version="1.0", module=module, folder=folder)


@pytest.fixture
def zoo(tmp_path: Path) -> Registry:
    """Return a registry with the file of the core and one good plugin, without those of this machine."""
    core = Installed(
        namespace="toy", distribution="layerzoo", version="0.1.0", module="layerzoo.testing.toy", folder=str(CORE)
    )
    environment = Environment((core, _plugin("good", "acme", "acme_zoo")), ())
    return Registry(environment, cache=tmp_path / "cache")


@pytest.fixture
def user_zoo(tmp_path: Path, zoo: Registry) -> Callable[..., Registry]:
    """As ``zoo``, with files of the user, the nearest first."""

    def with_files(*texts: str) -> Registry:
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / str(number) / "registry.yaml"
            path.parent.mkdir()
            path.write_text(textwrap.dedent(text), encoding="utf-8")
            paths.append(str(path))
        environment = Environment(zoo.environment.installed, tuple(paths))
        return Registry(environment, cache=tmp_path / "cache")

    return with_files


# ---------------------------------------------------------------- models


def test_a_model_is_found_by_id_and_by_alias(zoo: Registry) -> None:
    spec = zoo.model("acme/vit-shelf")
    assert spec == zoo.model("acme/shelf")
    assert spec.plugin == "acme-zoo"
    assert spec.aliases == ("acme/shelf",)
    assert len(spec.layers) == 15


def test_a_model_inherits_from_its_base(zoo: Registry) -> None:
    base, large = zoo.model("acme/vit-shelf"), zoo.model("acme/vit-shelf.large")
    assert isinstance(base.preprocess, ImagePreprocess)
    assert isinstance(large.preprocess, ImagePreprocess)
    assert large.preprocess.size_px == (384, 256)
    assert large.preprocess.crop == base.preprocess.crop == 0.9
    assert (large.builder, large.weights, large.layers) == (base.builder, base.weights, base.layers)
    assert (large.license, large.params, large.default, large.args) == (
        base.license,
        base.params,
        base.default,
        base.args,
    )
    assert large.base == "acme/vit-shelf"
    assert large.summary != base.summary


def test_a_video_model_inherits_image_preprocessing_from_its_base(zoo: Registry) -> None:
    video = zoo.model("acme/shelf-video")
    assert isinstance(video.preprocess, VideoPreprocess)
    assert video.preprocess.frames == 16
    assert video.preprocess.image == zoo.model("acme/vit-shelf").preprocess
    assert video.builder == "frames"


def test_weights_are_those_of_the_models(zoo: Registry) -> None:
    found = zoo.weights()
    assert found == {spec.id: spec.weights for spec in zoo.models() if spec.weights}
    assert found["acme/vit-shelf.large"] == found["acme/vit-shelf"]
    assert registry().weights() == {spec.id: spec.weights for spec in registry().models() if spec.weights}


def test_hand_written_models_take_precedence_over_the_catalogue(zoo: Registry) -> None:
    assert zoo.model("acme/vit-shelf").modality == "vision"
    assert zoo.ids(modality="text", plugin="acme") == ["acme/cat/one", "acme/cat/two"]


def test_models_are_listed_by_id(zoo: Registry) -> None:
    assert [spec.id for spec in zoo.models()] == zoo.ids()
    assert zoo.ids() == sorted(zoo.ids())


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"modality": "video"}, ["acme/shelf-video"]),
        ({"plugin": "toy"}, ["toy/next-word"]),
        ({"plugin": "layerzoo"}, ["toy/next-word"]),
        ({"license": "mit"}, ["acme/cat/one", "acme/cat/two"]),
        ({"license": "Apache-2.0", "plugin": "acme"}, ["acme/shelf-video", "acme/vit-shelf", "acme/vit-shelf.large"]),
        ({"max_params": 100}, ["acme/cat/one", "toy/next-word"]),
        ({"max_params": 10_000_000, "modality": "video"}, ["acme/shelf-video"]),
        ({"max_params": 1_000_000, "modality": "video"}, []),
        ({"text": "supermarket"}, ["acme/vit-shelf"]),
        ({"text": "CATALOGUE tex"}, ["acme/cat/one", "acme/cat/two"]),
        ({"text": "catalogue nothing"}, ["acme/cat/one", "acme/cat/two"]),
        ({"text": 'nobody" NEAR 99; --'}, []),
        ({"text": "vit-shelf.large"}, ["acme/vit-shelf.large"]),
        ({"text": "*"}, ["acme/cat/one", "acme/cat/two", "acme/shelf-video", "acme/vit-shelf", "acme/vit-shelf.large",
                         "toy/next-word"]),
    ],
)  # fmt: skip
def test_filters_select_models(zoo: Registry, filters: dict[str, object], found: list[str]) -> None:
    assert zoo.ids(**filters) == found  # type: ignore[arg-type]
    assert [spec.id for spec in zoo.models(**filters)] == found  # type: ignore[arg-type]


@pytest.fixture
def sized_zoo(user_zoo: Callable[..., Registry]) -> Registry:
    """Return three models that declare everything, one that inherits it, and one that declares nothing."""
    return user_zoo("""
        layerzoo: 1
        models:
          square:
            {modality: vision, builder: toy, license: MIT, params: 30, default: {layer: norm, pool: statistics},
             preprocess: {size_px: 224, resize: bicubic, mean: [0, 0, 0], std: [1, 1, 1]},
             layers: {norm: {module: norm, axes: batch token channel, shape: [197, 192], prefix_tokens: 1}}}
          wide: {modality: vision, base: square, preprocess: {size_px: [224, 448]}, default: {pool: flatten}}
          film: {modality: video, builder: frames, base: wide, preprocess: {frames: 4}, default: {pool: cls}, params: 7}
          sound:
            {modality: audio, builder: toy, license: gpl-3.0, params: 20, preprocess: {sample_rate_hz: 16000},
             layers: {block.0: a, block.1: {module: b, axes: batch time channel, shape: [49, 512]}}}
          blank: {modality: vision, builder: acme}
        """)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"license": "mit"}, ["film", "square", "wide"]),
        ({"builder": "toy"}, ["sound", "square", "wide"]),
        ({"min_params": 20}, ["sound", "square", "wide"]),
        ({"min_params": 8, "max_params": 20}, ["sound"]),
        ({"size_px": 224}, ["square"]),
        ({"size_px": (224, 448)}, ["film", "wide"]),
        ({"rate_hz": 16_000}, ["sound"]),
        ({"width": 384}, ["square"]),
        ({"width": 197 * 192}, ["wide"]),
        ({"max_width": 512}, ["film", "sound", "square"]),
        ({"modality": "vision", "max_width": 400, "installed": True}, ["square"]),
        ({"installed": False}, []),
        ({"license": None, "modality": "vision", "size_px": None}, ["blank", "square", "wide"]),
    ],
)
def test_filters_apply_to_inherited_fields(sized_zoo: Registry, filters: dict[str, Any], found: list[str]) -> None:
    ids = [f"mine/{name}" for name in found]
    assert sized_zoo.ids(plugin="mine", **filters) == ids
    assert sized_zoo.count(plugin="mine", **filters) == len(ids)
    assert [entry.id for entry in sized_zoo.entries(plugin="mine", **filters)] == ids


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("id", ["blank", "film", "sound", "square", "wide"]),
        ("-id", ["wide", "square", "sound", "film", "blank"]),
        ("params", ["film", "sound", "square", "wide", "blank"]),
        ("-params", ["square", "wide", "sound", "film", "blank"]),
        ("-width", ["wide", "sound", "square", "film", "blank"]),
        ("size_px", ["square", "film", "wide", "blank", "sound"]),
        ("license", ["sound", "film", "square", "wide", "blank"]),
    ],
)
def test_models_are_sorted_with_unknown_values_last(sized_zoo: Registry, sort: str, found: list[str]) -> None:
    ids = [f"mine/{name}" for name in found]
    assert sized_zoo.ids(plugin="mine", sort=sort) == ids
    assert sized_zoo.ids(plugin="mine", sort=sort, limit=2) == ids[:2]
    assert [spec.id for spec in sized_zoo.models(plugin="mine", sort=sort, limit=2)] == ids[:2]


def test_an_entry_contains_all_listed_fields(sized_zoo: Registry) -> None:
    (entry,) = sized_zoo.entries(text="film")
    assert entry.to_dict() == {
        "id": "mine/film", "modality": "video", "params": 7, "width": 192, "size_px": [224, 448], "rate_hz": None,
        "builder": "frames", "license": "MIT",
        "tasks": [], "trained_on": [], "languages": [], "summary": "",
        "plugin": None, "installed": True, "install": None,
        "metrics": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"modalty": "text"}, "there is no filter 'modalty'. Nearest: modality."),
        ({"modality": "sound"}, "there is no modality 'sound'."),
        ({"sort": "-parms"}, "there is no sort key '-parms'. Nearest: params."),
        ({"limit": -1}, "a limit is a number from 0, not -1"),
    ],
)
def test_an_invalid_filter_or_order_is_reported(zoo: Registry, arguments: dict[str, Any], words: str) -> None:
    for ask in (zoo.models, zoo.ids, zoo.entries):
        with pytest.raises(UsageError) as caught:
            ask(**arguments)
        assert words in str(caught.value)


def test_a_changed_base_changes_the_models_that_inherit_from_it(
    user_zoo: Callable[..., Registry], tmp_path: Path
) -> None:
    text = "layerzoo: 1\nmodels:\n  a: {modality: text, builder: toy, params: %d}\n  b: {modality: text, base: a}\n"
    zoo = user_zoo(text % 5)
    assert zoo.ids(max_params=5) == ["mine/a", "mine/b"]
    (tmp_path / "0" / "registry.yaml").write_text(text % 6, encoding="utf-8")
    again = Registry(zoo.environment, cache=tmp_path / "cache")
    assert again.ids(max_params=5) == []
    assert again.ids(max_params=6) == ["mine/a", "mine/b"]


def test_a_plugin_cannot_inherit_from_a_model_of_the_user(user_zoo: Callable[..., Registry], tmp_path: Path) -> None:
    zoo = user_zoo("layerzoo: 1\nmodels: {net: {modality: text, builder: toy}}\n")
    folder = tmp_path / "odd_zoo"
    folder.mkdir()
    (folder / "registry.yaml").write_text(
        "layerzoo: 1\nmodels: {a: {modality: text, base: mine/net}}\n", encoding="utf-8"
    )
    odd = Installed(namespace="odd", distribution="odd-zoo", version="1", module="odd_zoo", folder=str(folder))
    zoo = Registry(Environment((*zoo.environment.installed, odd), zoo.environment.user_files), cache=tmp_path / "c")
    with pytest.raises(RegistryError, match="only your own models can inherit from your own models"):
        zoo.model("odd/a")
    assert zoo.ids(plugin="odd") == []
    assert len(zoo.problems()) == 1


# ---------------------------------------------------------------- uninstalled models


def test_an_uninstalled_model_is_listed_with_its_distribution(zoo: Registry) -> None:
    (entry,) = zoo.entries(installed=False, modality="audio", license="mit", plugin="starter")
    assert (entry.id, entry.installed, entry.install) == (
        "starter/whisper-tiny-en", False, "pip install layerzoo-starter",
    )  # fmt: skip
    assert zoo.ids(text="whisper") == []
    assert zoo.ids(text="whisper", license="mit", installed=None) == ["starter/whisper-tiny-en"]
    assert zoo.ids(plugin="layerzoo-starter", installed=False) == zoo.ids(plugin="starter", installed=False)
    assert "starter/minilm-l6" not in [spec.id for spec in zoo.models()]
    with pytest.raises(NotInstalledError, match=r"not installed. It is a model for text: .*") as caught:
        zoo.model("starter/minilm-l6")
    assert caught.value.install == "pip install layerzoo-starter"


@pytest.mark.parametrize("installed", [False, None])
def test_an_uninstalled_model_has_no_declaration(zoo: Registry, installed: bool | None) -> None:
    with pytest.raises(UsageError, match=r"registry\(\)\.entries\(installed=False\)"):
        zoo.models(installed=installed)


def test_a_misspelt_uninstalled_model_suggests_the_nearest(zoo: Registry) -> None:
    with pytest.raises(UnknownModelError, match=r"(?s)Nearest: starter/minilm-l6.*pip install layerzoo-starter"):
        zoo.model("starter/minilm-l7")
    with pytest.raises(UnknownModelError, match=r"Nearest: .*starter/minilm-l6"):
        zoo.model("minilm-l6")


def test_an_installed_model_is_not_listed_twice(zoo: Registry, tmp_path: Path) -> None:
    torn = Installed(
        namespace="starter", distribution="layerzoo-starter", version="1", module="torn_zoo",
        folder=str(ON_DISK / "invalid_yaml" / "torn_zoo"),
    )  # fmt: skip
    both = Registry(Environment((*zoo.environment.installed, torn), ()), cache=tmp_path / "cache")
    assert [name for name in both.ids(installed=False) if name.startswith("starter/")] == []


def test_the_list_of_published_models_is_up_to_date() -> None:
    assert Path(PUBLISHED).read_text(encoding="utf-8") == published(), "make published"


def test_a_word_in_the_id_outranks_one_in_the_summary(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          a: {modality: text, builder: toy, summary: trained on owls}
          owls: {modality: text, builder: toy, summary: trained on something else}
        """)
    assert zoo.ids(text="owls") == ["mine/owls", "mine/a"]


def test_every_modality_has_a_default_model(zoo: Registry) -> None:
    assert zoo.default_model("text") == "starter/minilm-l6"
    with pytest.raises(UsageError, match="no modality 'sound'"):
        zoo.default_model("sound")  # type: ignore[arg-type]


# ---------------------------------------------------------------- missing names


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("acme/vit-shelff", UnknownModelError, "there is no model 'acme/vit-shelff'. Nearest: acme/vit-shelf"),
        ("video/any", UnknownModelError, "its plugin is not installed: pip install layerzoo-video"),
        ("hf/acme/any", NotInstalledError, "its plugin is not installed: pip install layerzoo-hf"),
        ("hf/google-bert/bert-base-uncased", NotInstalledError, "a model for text: BertModel"),
        ("timm/resnet50", NotInstalledError, "a model for vision: ResNet-50\nNext: pip install layerzoo-timm"),
        ("", UnknownModelError, "All: zoo list"),
    ],
)
def test_the_error_for_an_unknown_model_lists_the_nearest(
    zoo: Registry, asked: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        zoo.model(asked)
    assert words in str(caught.value)


def test_the_error_for_an_invalid_model_contains_its_diagnostics(zoo: Registry, tmp_path: Path) -> None:
    installed = (*zoo.environment.installed, _plugin("half_valid", "half", "half_zoo"))
    zoo = Registry(Environment(installed, ()), cache=tmp_path / "cache")
    assert zoo.model("half/fine").builder == "toy"
    with pytest.raises(RegistryError) as caught:
        zoo.model("half/broken")
    assert "registry.yaml:9:5: unknown key 'sumary'. Nearest: summary." in caught.value.diagnostics[0]
    assert len(caught.value.diagnostics) == 2
    manifest = zoo.plugin("half")
    assert (manifest.state, manifest.models) == ("incomplete", 1)
    assert "(and 1 more)" in str(manifest.cause)


def test_the_error_for_a_model_of_a_broken_plugin_names_the_plugin(zoo: Registry, tmp_path: Path) -> None:
    installed = (*zoo.environment.installed, _plugin("invalid_yaml", "torn", "torn_zoo"))
    zoo = Registry(Environment(installed, ()), cache=tmp_path / "cache")
    with pytest.raises(PluginError, match=r"'torn' cannot be used: .*registry.yaml:3:38: not valid YAML"):
        zoo.model("torn/net")
    assert zoo.model("acme/vit-shelf")


def test_a_base_that_is_not_installed_is_named(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          net: {modality: vision, base: timm/resnet50}
        """)
    with pytest.raises(
        UnknownModelError, match=r"(?s)mine/net inherits from timm/resnet50: .*pip install layerzoo-timm"
    ):
        zoo.model("mine/net")
    assert "mine/net" not in zoo.ids()
    assert "pip install layerzoo-timm" in str(zoo.problems()[0])


def test_circular_bases_are_refused(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          a: {modality: text, base: b}
          b: {modality: text, base: a}
        """)
    with pytest.raises(RegistryError, match="mine/a inherits from itself: mine/a → mine/b → mine/a"):
        zoo.model("mine/a")


def test_an_incomplete_base_is_refused(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          a: {modality: text, builder: toy}
          b: {modality: text, base: a, preprocess: {cls_token: true}}
        """)
    with pytest.raises(RegistryError, match=r"together are incomplete: max_tokens"):
        zoo.model("mine/b")


# ---------------------------------------------------------------- files of the user


def test_the_nearest_file_of_the_user_takes_precedence(user_zoo: Callable[..., Registry]) -> None:
    near = "layerzoo: 1\nmodels: {net: {modality: text, builder: toy}}\naliases: {a: mine/net}\n"
    far = (
        "layerzoo: 1\nmodels: {net: {modality: audio, builder: toy}, other: {modality: audio, builder: toy}}\n"
        "aliases: {a: mine/other}\n"
    )
    zoo = user_zoo(near, far)
    assert zoo.model("mine/net").modality == "text"
    assert zoo.model("a").id == "mine/net"
    assert zoo.ids(modality="audio") == ["mine/other"]
    assert zoo.model("mine/net").plugin is None


def test_an_alias_can_refer_to_an_alias(user_zoo: Callable[..., Registry]) -> None:
    assert user_zoo("layerzoo: 1\naliases: {s: acme/shelf, t: s}\n").model("s").id == "acme/vit-shelf"


def test_circular_aliases_are_not_found(user_zoo: Callable[..., Registry]) -> None:
    with pytest.raises(UnknownModelError):
        user_zoo("layerzoo: 1\naliases: {mine/a: mine/b, mine/b: mine/a}\n").model("mine/a")


def test_a_dangling_alias_is_a_problem(user_zoo: Callable[..., Registry]) -> None:
    problems = user_zoo("layerzoo: 1\naliases: {s: acme/shelve}\n").problems()
    assert "the alias 's' leads to acme/shelve: there is no model" in str(problems[0])


def test_models_can_be_disabled(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("layerzoo: 1\ndisable: [acme/vit-shelf, toy/*, acme/none]\n")
    assert zoo.ids() == ["acme/cat/one", "acme/cat/two"]
    with pytest.raises(UnknownModelError, match="is disabled by `disable: \\[toy/\\*\\]`"):
        zoo.model("toy/next-word")
    assert "there is no model 'acme/none' to disable" in "\n".join(map(str, zoo.problems()))


# ---------------------------------------------------------------- plugins


def test_a_plugin_is_described_without_importing_it(zoo: Registry) -> None:
    manifest = zoo.plugin("acme")
    assert manifest == zoo.plugin("acme-zoo")
    assert (manifest.state, manifest.models, manifest.builders) == ("ok", 5, ("acme",))
    assert "acme_zoo" not in sys.modules


def test_a_builder_belongs_to_its_plugin(zoo: Registry) -> None:
    assert zoo.builder_plugin("acme").module == "acme_zoo"
    assert zoo.builder_plugin("toy").module == "layerzoo.testing.toy"


def test_the_error_for_an_uninstalled_builder_names_its_distribution(zoo: Registry) -> None:
    with pytest.raises(PluginError, match="builder 'frames': pip install layerzoo-video") as caught:
        zoo.builder_plugin("frames")
    assert caught.value.plugin == "video"


def test_the_error_for_an_unknown_builder_lists_the_builders(zoo: Registry) -> None:
    with pytest.raises(PluginError, match=r"no builder 'acne'. Nearest: acme. Installed: acme, toy"):
        zoo.builder_plugin("acne")


def test_the_error_for_an_unknown_plugin_lists_the_plugins(zoo: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"no plugin 'acne'. Nearest: acme"):
        zoo.plugin("acne")
    with pytest.raises(NotFoundError, match="'hf' is not installed: pip install layerzoo-hf"):
        zoo.plugin("hf")


class TestFilterValues:
    """Filters read texts as the command line does, and refuse other values."""

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ({"max_params": "3M"}, {"max_params": 3_000_000}),
            ({"min_params": " 1.5g "}, {"min_params": 1_500_000_000}),
            ({"max_params": 3e6}, {"max_params": 3_000_000}),
            ({"size_px": "224"}, {"size_px": (224, 224)}),
            ({"size_px": "384x256"}, {"size_px": (384, 256)}),
            ({"size_px": [384, 256]}, {"size_px": (384, 256)}),
            ({"width": "768", "rate_hz": "16000"}, {"width": 768, "rate_hz": 16000}),
            ({"metric": "imagenet-acc1>=85"}, {"metric": ("imagenet-acc1>=85",)}),
            ({"installed": None, "width": None}, {"installed": None}),
        ],
    )
    def test_a_text_is_read_as_on_the_command_line(self, written: Any, read: Any) -> None:
        assert parse_filters(written) == read

    @pytest.mark.parametrize(
        "filters",
        [
            *({"max_params": value} for value in ("3Q", "", [3], True, float("nan"), float("inf"), 2.5, -1, 2**70)),
            *({"size_px": value} for value in ("224x", "x", (1, 2, 3), (), (224, None), {})),
            *({"width": "wide"}, {"rate_hz": "16k"}, {"metric": 5}, {"metric": [5]}, {"installed": "yes"}),
            *(
                {name: 5}
                for name in ("modality", "plugin", "builder", "license", "task", "language", "text", "pattern")
            ),
        ],
    )
    def test_another_value_is_refused_by_name(self, zoo: Registry, filters: Any) -> None:
        ((name, _),) = filters.items()
        with pytest.raises(UsageError, match=name):
            zoo.ids(**filters)
        with pytest.raises(UsageError, match=name):
            zoo.models(**filters)

    def test_a_limit_is_a_number(self, zoo: Registry) -> None:
        with pytest.raises(UsageError, match="limit: '3' is not a whole number"):
            zoo.models(limit="3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"task": "image-clasification"}, "no model has the task 'image-clasification'. Nearest: image-classification"),
        ({"trained_on": "imagnet-1k"}, "no model has the training data 'imagnet-1k'. Nearest: imagenet-1k"),
        ({"language": "klingon"}, "no model has the language 'klingon'. .*All: .*de"),
        ({"license": "apach-2.0"}, "no model has the license 'apach-2.0'. Nearest: apache-2.0"),
        ({"builder": "tim"}, "no model has the builder 'tim'. Nearest: timm"),
        ({"plugin": "acne"}, "there is no plugin 'acne'. Nearest: acme"),
        ({"plugin": "timm"}, "the plugin 'timm' is not installed: pip install layerzoo-timm"),
    ],
)
def test_a_value_that_no_model_has_is_an_error(zoo: Registry, filters: Any, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        zoo.models(**filters)
    assert zoo.ids(**filters) == []


def test_a_value_that_models_have_may_match_none_of_them(zoo: Registry) -> None:
    assert zoo.models(license="MIT", max_params=1) == []
