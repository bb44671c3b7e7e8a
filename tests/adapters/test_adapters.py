"""The adapters with the packages that they are for: `make test-adapters`. The models are those of `starter`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layerzoo
from layerzoo import Embedder
from layerzoo.errors import UsageError

MODEL = "starter/minilm-l6"
TEXTS = ["a fine film", "a waste of time", "the cat drinks milk"]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(MODEL)


@pytest.fixture(scope="module")
def expected() -> Any:
    """The vectors that extraction gives, which equal those of the library: see the tests of the runtime."""
    return layerzoo.extract(MODEL, TEXTS).values


@pytest.fixture
def images(samples: Path) -> list[Path]:
    return sorted((samples / "skimage" / "data").glob("*.png"))[:3] or sorted(samples.rglob("*.png"))[:3]


# ---------------------------------------------------------------- LangChain


def test_langchain_searches_with_it(embedder: Embedder) -> None:
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(embedder)  # type: ignore[arg-type]  # by its methods
    store.add_texts(TEXTS)
    assert [found.page_content for found in store.similarity_search("a good movie", k=1)] == ["a fine film"]
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert [found.page_content for found in retriever.invoke("kitten")] == ["the cat drinks milk"]


def test_langchain_searches_asynchronously(embedder: Embedder) -> None:
    from langchain_core.vectorstores import InMemoryVectorStore

    async def nearest() -> list[str]:
        store = InMemoryVectorStore(embedder)  # type: ignore[arg-type]  # by its methods
        await store.aadd_texts(TEXTS)
        return [document.page_content for document in await store.asimilarity_search("kitten", k=1)]

    assert asyncio.run(nearest()) == ["the cat drinks milk"]


def test_langchain_finds_every_method_of_its_embeddings(embedder: Embedder) -> None:
    from langchain_core.embeddings import Embeddings

    assert [name for name in vars(Embeddings) if not name.startswith("_") and not hasattr(embedder, name)] == []


# ---------------------------------------------------------------- Chroma


def test_chroma_stores_and_reopens_a_collection(embedder: Embedder, tmp_path: Path) -> None:
    import chromadb

    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        client = chromadb.PersistentClient(str(tmp_path))
        collection = client.create_collection("films", embedding_function=embedder)
        collection.add(ids=list("abc"), documents=TEXTS)
        found = collection.query(query_texts=["a good movie"], n_results=1)
    assert found["ids"] == [["a"]]
    again = chromadb.PersistentClient(str(tmp_path)).get_collection("films")  # builds the embedder from its name
    assert again.query(query_texts=["kitten"], n_results=1)["ids"] == [["c"]]


def test_chroma_gets_the_vectors_of_extraction(embedder: Embedder, expected: Any) -> None:
    import chromadb

    collection = chromadb.EphemeralClient().create_collection("vectors", embedding_function=embedder)
    collection.add(ids=list("abc"), documents=TEXTS)
    np.testing.assert_allclose(collection.get(include=["embeddings"])["embeddings"], expected, rtol=1e-6)


# ---------------------------------------------------------------- LanceDB


def test_lancedb_embeds_a_column(tmp_path: Path) -> None:
    import lancedb
    from lancedb.embeddings import get_registry
    from lancedb.pydantic import LanceModel, Vector

    import layerzoo.adapters.lancedb  # noqa: F401 - it registers the function

    embeddings = get_registry().get("layerzoo").create(model=MODEL)

    class Film(LanceModel):  # type: ignore[misc]
        text: str = embeddings.SourceField()
        vector: Vector(embeddings.ndims()) = embeddings.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(tmp_path).create_table("films", schema=Film)
    table.add([{"text": text} for text in TEXTS])
    (found,) = table.search("a good movie").limit(1).to_pydantic(Film)
    assert found.text == "a fine film"


# ---------------------------------------------------------------- llm


def _llm(*arguments: str, data: bytes | None = None) -> Any:
    done = subprocess.run([sys.executable, "-m", "llm", *arguments], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_llm_embeds_a_text(expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    vector = _llm("embed", "-m", f"layerzoo/{MODEL}", "-c", TEXTS[0])
    np.testing.assert_allclose(vector, expected[0], rtol=1e-5, atol=1e-6)


def test_llm_embeds_an_image(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    model = "starter/efficientnet-lite0"
    vector = _llm("embed", "-m", f"layerzoo/{model}", "--binary", "-i", str(images[0]))
    np.testing.assert_allclose(vector, layerzoo.extract(model, [images[0]]).values[0], rtol=1e-4, atol=1e-5)


def test_llm_starts_without_torch() -> None:
    program = "import llm, sys; llm.get_embedding_models(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# ---------------------------------------------------------------- MTEB


def _score(encoder: Any) -> float:
    import mteb
    from tests.adapters.small_task import SmallSts

    result = mteb.evaluate(encoder, SmallSts(), cache=None)
    return float(result.task_results[0].get_score())


def test_mteb_evaluates_each_layer() -> None:
    import mteb

    from layerzoo.adapters.mteb import MtebEncoder

    last, first = MtebEncoder(MODEL), MtebEncoder(MODEL, layer="stem")
    assert isinstance(last, mteb.EncoderProtocol)
    assert last.mteb_model_meta.name != first.mteb_model_meta.name
    assert last.mteb_model_meta.embed_dim == 384
    assert _score(last) == pytest.approx(1)
    assert _score(first) <= 1


@pytest.mark.parametrize("modality", ["text", "image", "audio", "video"])
def test_mteb_gets_the_vectors_of_extraction(modality: str, samples: Path, images: list[Path]) -> None:
    from PIL import Image

    from layerzoo.adapters.mteb import MtebEncoder

    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.1, 0.1, 16_000).astype(np.float32) for _ in range(2)]
    frames = [rng.integers(0, 255, (20, 64, 64, 3), dtype=np.uint8) for _ in range(2)]
    pictures = [Image.open(path).convert("RGB") for path in images]
    model, batch, inputs = {
        "text": (MODEL, {"text": TEXTS}, TEXTS),
        "image": ("starter/efficientnet-lite0", {"image": pictures}, pictures),
        "audio": (
            "starter/whisper-tiny-en",
            {"audio": [{"array": clip, "sampling_rate": 16_000} for clip in clips]},
            [layerzoo.Audio(clip, 16_000) for clip in clips],
        ),
        "video": ("starter/efficientnet-lite0-video", {"video": [np.moveaxis(f, -1, 1) for f in frames]}, frames),
    }[modality]
    found = MtebEncoder(model).encode([batch], task_metadata=None, hf_split="test", hf_subset="default")
    np.testing.assert_allclose(found, layerzoo.extract(model, inputs).values, rtol=1e-5, atol=1e-6)


def test_mteb_is_told_which_inputs_are_missing() -> None:
    from layerzoo.adapters.mteb import MtebEncoder

    with pytest.raises(UsageError, match="starter/minilm-l6 takes text, and this task has image"):
        MtebEncoder(MODEL).encode([{"image": []}], task_metadata=None, hf_split="test", hf_subset="default")
