"""Full-text search: matches and their order. No query is an error."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.registry import Environment, Installed, Registry
from layerzoo.registry.index.query import Match, match, matches, pieces, similar

MODELS = {
    "resnet50.a1": "Residual network, trained on ImageNet-1k",
    "resnet-18": "Residual network, trained on ImageNet-1k",
    "resnext50_32x4d": "Aggregated residual network",
    "vit_base_patch16_224": "Vision transformer, ViT-B/16",
    "deit3_small": "A vision transformer with the training of a resnet",
    "whisper-tiny-en": "Speech, in C++ and Größe",
    "owl": "Trained on something else",
    "owlvit_large": "Detects what words name",
    "feathers": "Trained on owls and on one owl",
}
WEIRD = [
    *("", " ", "*", "c++", '"', '"unfinished', "NEAR(a b)", "AND", "a AND", "NOT owl", "{id} : owl", "id:owl", "-owl"),
    *("owl*", "^owl", "'; --", "ünïcödé", "größe", "日本語", "½", "²", "\0", "١٢", "\U0001f989", "a" * 5000),
]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Return a registry with the models above and those of layerzoo."""
    folder = tmp_path_factory.mktemp("search")
    models = (f"  {name}: {{modality: vision, builder: toy, summary: '{text}'}}" for name, text in MODELS.items())
    declared = "\n".join(models)
    (folder / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{declared}\n", encoding="utf-8")
    core = Installed(
        namespace="toy",
        distribution="layerzoo",
        version="0.1.0",
        module="layerzoo.testing.toy",
        folder=str(Path(__file__).parents[2]),
    )
    return Registry(Environment((core,), (str(folder / "registry.yaml"),)), cache=folder / "cache")


def _found(zoo: Registry, text: str) -> list[str]:
    return [model.removeprefix("mine/") for model in zoo.ids(text=text, plugin="mine")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("owl", ["owl", "owlvit_large", "feathers"]),  # a word of an id, a prefix of one, a word of a summary
        ("res", ["resnet-18", "resnet50.a1", "resnext50_32x4d", "deit3_small"]),
        ("resnet", ["resnet-18", "resnet50.a1", "deit3_small"]),
        ("resnet50", ["resnet50.a1"]),
        ("resnet-50", ["resnet50.a1"]),
        ("ResNet 50", ["resnet50.a1"]),
        ("resnet5", ["resnet50.a1"]),
        ("resnet18", ["resnet-18"]),
        ("vit_base", ["vit_base_patch16_224"]),
        ("ViT-B/16", ["vit_base_patch16_224"]),
        ("patch16", ["vit_base_patch16_224"]),
        ("resnet residual", ["resnet-18", "resnet50.a1"]),
        ("c++", ["whisper-tiny-en"]),
        ("groSSe", []),
        ("GRÖ", ["whisper-tiny-en"]),
        ("Grö", ["whisper-tiny-en"]),
        ("groß", ["whisper-tiny-en"]),
        ("owl nothing", ["owl", "owlvit_large", "feathers"]),  # those that match most words
        ("nothing nobody", []),
    ],
)
def test_the_best_match_comes_first(zoo: Registry, text: str, found: list[str]) -> None:
    assert _found(zoo, text) == found


def test_matches_in_summaries_rank_above_modalities_and_builders(zoo: Registry) -> None:
    found = _found(zoo, "vision")
    assert set(found[:2]) == {"deit3_small", "vit_base_patch16_224"}
    assert set(found) == set(MODELS)


def test_an_explicit_order_takes_precedence_over_the_rank(zoo: Registry) -> None:
    assert zoo.ids(text="owl", sort="id") == ["mine/feathers", "mine/owl", "mine/owlvit_large"]


@pytest.mark.parametrize("text", WEIRD)
def test_operators_of_sqlite_have_no_effect(zoo: Registry, text: str) -> None:
    assert zoo.count(text=text) == len(zoo.ids(text=text))


@given(
    text=st.text(max_size=200)
    | st.lists(st.sampled_from([*WEIRD, *MODELS, "owl", "(", ")", ":", "+", "\\"])).map(" ".join)
)
def test_any_text_is_valid_and_a_limit_returns_the_first_results(zoo: Registry, text: str) -> None:
    found = zoo.ids(text=text)
    assert len(found) == len(set(found)) == zoo.count(text=text)
    assert zoo.ids(text=text, limit=3) == found[:3]
    assert set(found) == set(zoo.ids(text=text, sort="id"))


@given(text=st.text(min_size=1))
def test_every_query_is_valid_for_sqlite(text: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE names USING fts5 (id, aliases)")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (id, aliases, tasks, summary, facts, detail = column)")
    for question in [*matches(text), match(text) or Match(), Match(names=similar(text))]:
        for table, asked in (("names", question.names), ("words", question.words)):
            if asked is not None:
                connection.execute(f"SELECT rowid FROM {table} WHERE {table} MATCH ?", (asked,)).fetchall()
    connection.close()


def test_letters_and_digits_are_separate_words() -> None:
    assert pieces("acme/vit_b16.v2-Größe") == ["acme", "vit", "b", "16", "v", "2", "Größe"]
