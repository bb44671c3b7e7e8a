"""Looking things up: ids, aliases, bases, filters, and what is said about what is not there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from layerzoo.errors import NotFoundError, PluginError, RegistryError, UnknownModelError, UsageError
from layerzoo.registry import Installed, Registry, Surroundings, registry
from layerzoo.registry.index import FILE_NAME
from layerzoo.spec import ImagePreprocess, VideoPreprocess

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
CORE = Path(__file__).parents[2]

Install = Callable[..., None]


def _plugin(name: str, namespace: str, module: str) -> Installed:
    folder = str(ON_DISK / name / module)
    return Installed(namespace=namespace, distribution=f"{namespace}-zoo", version="1.0", module=module, folder=folder)


@pytest.fixture
def zoo(tmp_path: Path) -> Registry:
    """layerzoo's own file and one good plugin, and nothing of this machine."""
    core = Installed(
        namespace="toy", distribution="layerzoo", version="0.1.0", module="layerzoo.testing.toy", folder=str(CORE)
    )
    surroundings = Surroundings((core, _plugin("good", "acme", "acme_zoo")), ())
    return Registry(surroundings, cache=tmp_path / "cache")


@pytest.fixture
def user_zoo(tmp_path: Path, zoo: Registry) -> Callable[..., Registry]:
    """The same with the user's own files, the nearest first."""

    def with_files(*texts: str) -> Registry:
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / str(number) / "registry.yaml"
            path.parent.mkdir()
            path.write_text(textwrap.dedent(text), encoding="utf-8")
            paths.append(str(path))
        surroundings = Surroundings(zoo.surroundings.installed, tuple(paths))
        return Registry(surroundings, cache=tmp_path / "cache")

    return with_files


# ---------------------------------------------------------------- models


def test_a_model_is_found_by_id_and_by_alias(zoo: Registry) -> None:
    spec = zoo.model("acme/vit-shelf")
    assert spec == zoo.model("acme/shelf")
    assert spec.plugin == "acme-zoo"
    assert spec.aliases == ("acme/shelf",)
    assert len(spec.layers) == 15


def test_a_model_takes_over_what_its_base_says(zoo: Registry) -> None:
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


def test_a_video_model_takes_its_image_from_its_base(zoo: Registry) -> None:
    video = zoo.model("acme/shelf-video")
    assert isinstance(video.preprocess, VideoPreprocess)
    assert video.preprocess.frames == 16
    assert video.preprocess.image == zoo.model("acme/vit-shelf").preprocess
    assert video.builder == "frames"


def test_a_catalogue_stands_behind_what_is_written_by_hand(zoo: Registry) -> None:
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
        ({"plugin": "nobody"}, []),
        ({"license": "mit"}, ["acme/cat/one", "acme/cat/two"]),
        ({"license": "Apache-2.0", "plugin": "acme"}, ["acme/shelf-video", "acme/vit-shelf", "acme/vit-shelf.large"]),
        ({"max_params": 100}, ["acme/cat/one", "toy/next-word"]),
        ({"max_params": 10_000_000, "modality": "video"}, ["acme/shelf-video"]),
        ({"max_params": 1_000_000, "modality": "video"}, []),
        ({"text": "supermarket"}, ["acme/vit-shelf"]),
        ({"text": "CATALOGUE tex"}, ["acme/cat/one", "acme/cat/two"]),
        ({"text": "catalogue nothing"}, []),
        ({"text": 'vit" OR 1; --'}, []),
        ({"text": "vit-shelf.large"}, ["acme/vit-shelf.large"]),
        ({"text": "*"}, ["acme/cat/one", "acme/cat/two", "acme/shelf-video", "acme/vit-shelf", "acme/vit-shelf.large",
                         "toy/next-word"]),
    ],
)  # fmt: skip
def test_filters_choose(zoo: Registry, filters: dict[str, object], found: list[str]) -> None:
    assert zoo.ids(**filters) == found  # type: ignore[arg-type]
    assert [spec.id for spec in zoo.models(**filters)] == found  # type: ignore[arg-type]


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


# ---------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("acme/vit-shelff", UnknownModelError, "there is no model 'acme/vit-shelff'. Nearest: acme/vit-shelf"),
        ("vit-shelf", UnknownModelError, "Nearest: acme/vit-shelf"),
        ("timm/resnet50", UnknownModelError, "its plugin is not installed: pip install layerzoo-timm"),
        ("", UnknownModelError, "All: zoo list"),
    ],
)
def test_an_unknown_model_says_what_there_is(zoo: Registry, asked: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        zoo.model(asked)
    assert words in str(caught.value)


def test_an_invalid_model_gives_its_diagnostics(zoo: Registry, tmp_path: Path) -> None:
    installed = (*zoo.surroundings.installed, _plugin("half_valid", "half", "half_zoo"))
    zoo = Registry(Surroundings(installed, ()), cache=tmp_path / "cache")
    assert zoo.model("half/fine").builder == "toy"
    with pytest.raises(RegistryError) as caught:
        zoo.model("half/broken")
    assert "registry.yaml:9:5: unknown key 'sumary'. Nearest: summary." in caught.value.diagnostics[0]
    assert len(caught.value.diagnostics) == 2
    manifest = zoo.plugin("half")
    assert (manifest.state, manifest.models) == ("incomplete", 1)
    assert "(and 1 more)" in str(manifest.cause)


def test_a_model_of_a_broken_plugin_says_so(zoo: Registry, tmp_path: Path) -> None:
    installed = (*zoo.surroundings.installed, _plugin("invalid_yaml", "torn", "torn_zoo"))
    zoo = Registry(Surroundings(installed, ()), cache=tmp_path / "cache")
    with pytest.raises(PluginError, match=r"'torn' cannot be used: .*registry.yaml:4:1: not valid YAML"):
        zoo.model("torn/net")
    assert zoo.model("acme/vit-shelf")


def test_a_base_that_is_not_installed_is_named(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          net: {modality: vision, base: timm/resnet50}
        """)
    with pytest.raises(UnknownModelError, match=r"mine/net is built on timm/resnet50: .*pip install layerzoo-timm"):
        zoo.model("mine/net")
    assert "mine/net" not in zoo.ids()
    assert "pip install layerzoo-timm" in str(zoo.problems()[0])


def test_models_built_on_each_other_are_refused(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          a: {modality: text, base: b}
          b: {modality: text, base: a}
        """)
    with pytest.raises(RegistryError, match="mine/a is built on itself: mine/a → mine/b → mine/a"):
        zoo.model("mine/a")


def test_a_base_that_says_too_little_is_refused(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("""
        layerzoo: 1
        models:
          a: {modality: text, builder: toy}
          b: {modality: text, base: a, preprocess: {cls_token: true}}
        """)
    with pytest.raises(RegistryError, match=r"together do not say enough: .*max_tokens"):
        zoo.model("mine/b")


# ---------------------------------------------------------------- the user's own files


def test_the_nearer_of_the_users_files_counts(user_zoo: Callable[..., Registry]) -> None:
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


def test_an_alias_may_lead_to_an_alias(user_zoo: Callable[..., Registry]) -> None:
    assert user_zoo("layerzoo: 1\naliases: {s: acme/shelf, t: s}\n").model("s").id == "acme/vit-shelf"


def test_aliases_in_a_circle_are_not_found(user_zoo: Callable[..., Registry]) -> None:
    with pytest.raises(UnknownModelError):
        user_zoo("layerzoo: 1\naliases: {mine/a: mine/b, mine/b: mine/a}\n").model("mine/a")


def test_an_alias_that_leads_nowhere_is_a_problem(user_zoo: Callable[..., Registry]) -> None:
    problems = user_zoo("layerzoo: 1\naliases: {s: acme/shelve}\n").problems()
    assert "the alias 's' stands for acme/shelve: there is no model" in str(problems[0])


def test_models_can_be_switched_off(user_zoo: Callable[..., Registry]) -> None:
    zoo = user_zoo("layerzoo: 1\ndisable: [acme/vit-shelf, toy/*, acme/none]\n")
    assert zoo.ids() == ["acme/cat/one", "acme/cat/two"]
    with pytest.raises(UnknownModelError, match="switched off by `disable: \\[toy/\\*\\]`"):
        zoo.model("toy/next-word")
    assert "`disable: [acme/none]` matches no model" in "\n".join(map(str, zoo.problems()))


# ---------------------------------------------------------------- plugins


def test_a_plugin_is_known_without_being_imported(zoo: Registry) -> None:
    manifest = zoo.plugin("acme")
    assert manifest == zoo.plugin("acme-zoo")
    assert (manifest.state, manifest.models, manifest.builders) == ("ok", 5, ("acme",))
    assert "acme_zoo" not in sys.modules


def test_a_builder_leads_to_its_plugin(zoo: Registry) -> None:
    assert zoo.builder_plugin("acme").module == "acme_zoo"
    assert zoo.builder_plugin("toy").module == "layerzoo.testing.toy"


def test_a_builder_that_is_not_installed_says_what_brings_it(zoo: Registry) -> None:
    with pytest.raises(PluginError, match="builder 'frames': pip install layerzoo-video") as caught:
        zoo.builder_plugin("frames")
    assert caught.value.plugin == "video"


def test_an_unknown_builder_says_which_there_are(zoo: Registry) -> None:
    with pytest.raises(PluginError, match=r"no builder 'acne'. Nearest: acme. Installed: acme, toy"):
        zoo.builder_plugin("acne")


def test_an_unknown_plugin_says_what_there_is(zoo: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"no plugin 'acne'. Nearest: acme"):
        zoo.plugin("acne")
    with pytest.raises(NotFoundError, match="'hf' is not installed: pip install layerzoo-transformers"):
        zoo.plugin("hf")


# ---------------------------------------------------------------- the index, and the process's own zoo


def _answers(zoo: Registry) -> object:
    return zoo.models(), zoo.models(text="shelf"), zoo.plugins(), zoo.problems()


def test_a_warm_index_answers_as_a_cold_one(zoo: Registry, tmp_path: Path) -> None:
    assert _answers(Registry(zoo.surroundings, cache=tmp_path / "cache")) == _answers(zoo)


def test_a_cache_that_cannot_be_made_changes_no_answer(zoo: Registry, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder", encoding="utf-8")
    assert _answers(Registry(zoo.surroundings, cache=file / "cache")) == _answers(zoo)


def test_a_read_only_cache_changes_no_answer(zoo: Registry, tmp_path: Path) -> None:
    index = tmp_path / "cache" / FILE_NAME
    connection = sqlite3.connect(index)
    connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON sources BEGIN SELECT RAISE(ABORT, 'read-only'); END")
    connection.execute("DELETE FROM sources")
    connection.commit()
    connection.close()
    assert _answers(Registry(zoo.surroundings, cache=tmp_path / "cache")) == _answers(zoo)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 1000])
def test_a_corrupt_index_is_made_again(zoo: Registry, tmp_path: Path, damage: bytes) -> None:
    index = tmp_path / "cache" / FILE_NAME
    index.write_bytes(damage)
    again = Registry(zoo.surroundings, cache=tmp_path / "cache")
    assert _answers(again) == _answers(zoo)
    assert index.stat().st_size > len(damage)


def test_an_index_that_breaks_in_use_changes_no_answer(zoo: Registry, tmp_path: Path) -> None:
    expected = _answers(zoo)
    index = tmp_path / "cache" / FILE_NAME
    content = bytearray(index.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    index.write_bytes(content)
    assert _answers(zoo) == expected
    assert _answers(Registry(zoo.surroundings, cache=tmp_path / "cache")) == expected


def test_many_threads_may_ask_at_once(zoo: Registry) -> None:
    expected = zoo.ids()
    found: list[list[str]] = []

    def ask() -> None:
        found.extend(zoo.ids() for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(answer == expected for answer in found)


def test_the_zoo_of_the_process_stays_while_nothing_changes(install: Install) -> None:
    install("good")
    assert registry() is registry()


def test_an_edit_is_seen_at_once_also_when_the_size_stays(home: Path) -> None:
    file = home / "registry.yaml"
    for modality in ("text", "audio", "text", "audio"):
        file.write_text(f"layerzoo: 1\nmodels: {{net: {{modality: {modality:5}, builder: toy}}}}\n", encoding="utf-8")
        assert registry().model("mine/net").modality == modality


def test_an_added_and_a_removed_file_are_seen_at_once(home: Path) -> None:
    assert "mine/net" not in registry().ids()
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels: {net: {modality: text, builder: toy}}\n", encoding="utf-8"
    )
    assert "mine/net" in registry().ids()
    (home / "registry.yaml").unlink()
    assert "mine/net" not in registry().ids()


def test_installing_and_uninstalling_are_seen_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = home / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    assert "acme/vit-shelf" not in registry().ids()
    shutil.copytree(ON_DISK / "good", site, dirs_exist_ok=True)
    assert "acme/vit-shelf" in registry().ids()
    shutil.rmtree(site / "acme_zoo-1.0.dist-info")
    assert "acme/vit-shelf" not in registry().ids()


def test_an_edited_catalogue_is_seen_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ON_DISK / "good", home / "site")
    monkeypatch.syspath_prepend(home / "site")
    assert "acme/late" not in registry().ids()
    with (home / "site" / "acme_zoo" / "models.jsonl").open("a", encoding="utf-8") as catalogue:
        catalogue.write('{"id": "late", "modality": "text", "builder": "acme"}\n')
    assert "acme/late" in registry().ids()
