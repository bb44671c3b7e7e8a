"""Features of the starter models equal those of the libraries that their networks come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import layerzoo
from layerzoo.media import audio
from layerzoo.weights import resolve
from layerzoo_starter.ctranslate2 import read_model, whisper_encoder

TEXTS = [
    "A fine film.",
    "",
    "It rained all week, and nobody in the village could remember a worse June.",
    "naïve café — ½ price 😀 日本語",
    "word " * 400,
]


def folder() -> Path:
    weights = layerzoo.model("starter/minilm-l6").weights
    assert weights is not None
    return resolve(weights)["config.json"].parent


def test_minilm_equals_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    texts = [text for text in TEXTS if text]
    expected = SentenceTransformer(str(folder()), device="cpu").encode(texts)
    found = layerzoo.extract("starter/minilm-l6", texts).values
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert (1 - (expected * found).sum(1)).max() <= 1e-5


def test_tokens_equal_the_tokenizers_own_truncation() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder())
    preprocess = layerzoo.load("starter/minilm-l6").preprocess
    for text in TEXTS:
        if text:
            (ids,) = preprocess([text]).inputs["input_ids"].tolist()
            assert ids == tokenizer(text, truncation=True, max_length=256)["input_ids"]


@pytest.mark.parametrize("index", range(6))
def test_minilm_blocks_equal_hidden_states(index: int) -> None:
    from transformers import AutoModel

    backbone = layerzoo.load("starter/minilm-l6", layer=f"block.{index}")
    batch = backbone.preprocess([TEXTS[0], TEXTS[2]])
    network = AutoModel.from_pretrained(folder()).eval()
    with torch.no_grad():
        states = network(**batch.inputs, output_hidden_states=True).hidden_states
    assert torch.equal(backbone.activations(batch)[f"block.{index}"], states[index + 1])


def test_whisper_equals_the_library_over_the_frames_that_are_not_padding(samples: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    spec = layerzoo.model("starter/whisper-tiny-en")
    encoder = WhisperEncoder(WhisperConfig(**spec.args.to_dict()["config"])).eval()
    assert spec.weights is not None
    encoder.load_state_dict(whisper_encoder(read_model(resolve(spec.weights)["model.bin"])))
    for name in ("moonshine_onnx/assets/beckett.wav", "arcade/resources/assets/sounds/coin1.wav"):
        clip = audio.decode(samples / name, 16000)
        mel = WhisperFeatureExtractor()(clip, sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            expected = encoder(mel).last_hidden_state[0, : -(-len(clip) // 320)].mean(0).numpy()
        found = layerzoo.extract("starter/whisper-tiny-en", samples / name).values[0]
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_audio_longer_than_the_network_window_is_split_and_pooled(samples: Path) -> None:
    speech = audio.decode(samples / "moonshine_onnx/assets/beckett.wav", 16000)
    long = np.concatenate([speech] * 4)
    window = 30 * 16000
    found = layerzoo.extract("starter/whisper-tiny-en", [(long, 16000)]).values[0]
    parts = layerzoo.extract("starter/whisper-tiny-en", [(long[:window], 16000), (long[window:], 16000)]).values
    frames = np.array([1500, -(-(len(long) - window) // 320)])  # weights: the pooled frames of each row
    weights = frames / frames.sum()
    np.testing.assert_allclose(found, weights @ parts, rtol=1e-4, atol=1e-5)


def test_efficientnet_classifies_the_image(samples: Path) -> None:
    images = sorted((samples / "foolbox/data").glob("imagenet_*.jpg"))
    truth = [int(path.stem.rsplit("_", 1)[1]) for path in images]
    scores = layerzoo.extract("starter/efficientnet-lite0", images, layer="head").values
    assert (scores.argmax(1) == truth).sum() == 18
    probable = torch.softmax(
        torch.from_numpy(
            layerzoo.extract(
                "starter/efficientnet-lite0",
                [samples / "skimage/data/chelsea.png", samples / "skimage/data/coffee.png"],
                layer="head",
            ).values
        ),
        dim=1,
    )
    assert probable[0, [282, 285]].tolist() == pytest.approx([0.39, 0.36], abs=0.01)  # tiger cat, Egyptian cat
    assert probable[1, 967].item() == pytest.approx(0.95, abs=0.01)  # espresso


def test_an_embedder_gives_a_vector_for_a_single_input(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("RGB", (40, 30), "red")
    image.save(tmp_path / "red.png")
    embedder = layerzoo.Embedder("starter/efficientnet-lite0", layer="stage.1")
    for single in (tmp_path / "red.png", str(tmp_path / "red.png"), image, np.asarray(image)):
        assert embedder.encode(single).shape == (24,)
        assert embedder.encode([single]).shape == (1, 24)
    for several in (tmp_path, f"{tmp_path}/*.png"):
        assert embedder.encode(several).shape == (1, 24)
    text = layerzoo.Embedder("starter/minilm-l6", layer="block.0")
    assert [text.encode(texts).shape for texts in ("A fine film.", ["A fine film."], [])] == [
        (384,),
        (1, 384),
        (0, 384),
    ]
    arrays = layerzoo.Embedder(layerzoo.wrap(torch.nn.Linear(3, 4)))
    assert arrays.encode(torch.zeros(1, 3)).shape == (1, 4)


def test_the_input_of_a_network_for_spectra_is_not_called_waveform() -> None:
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="block.0")
    batch = backbone.preprocess([layerzoo.Audio(np.zeros(16_000, np.float32), 16_000)])
    assert [(name, tensor.ndim) for name, tensor in batch.inputs.items()] == [("input_features", 3)]
    (features,) = batch.inputs.values()
    assert list(backbone.preprocess([features[0]]).inputs) == ["input_features"]
