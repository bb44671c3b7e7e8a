"""Weights at links whose publisher states no digest: `zoo pull` locks their sha256, and nothing is opened before."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.hub import Hub
from torchaudio.models import wav2vec2_model

import layerzoo
from layerzoo.errors import DigestError, UnsafeWeightsError

TINY: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[16, 10, 5], [16, 3, 4], [16, 2, 4]],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}


def pickled(seed: int) -> bytes:
    torch.manual_seed(seed)
    written = io.BytesIO()
    torch.save(wav2vec2_model(**TINY).state_dict(), written)
    return written.getvalue()


@pytest.fixture
def web(small_home: Path) -> Iterator[Hub]:
    """A server with a pickled checkpoint, and the declaration of a model with it."""
    with Hub(tls=True) as running:
        link = running.file("speech.pth", pickled(0))
        declare(link)
        yield running


def declare(link: str) -> None:
    model = {
        "modality": "audio",
        "builder": "torchaudio",
        "args": {"name": "wav2vec2_model", **TINY},
        "weights": {"source": link, "lock": True},
    }
    Path("registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/speech": model}}))


def pull(web: Hub, *options: str, **variables: str) -> str:
    """Run `zoo pull` in a separate process, because trusted certificate authorities are loaded once per process."""
    kept = {"LAYERZOO_CACHE": os.environ["LAYERZOO_CACHE"], "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    environment = web.environment(Path.cwd().parent / "huggingface", **kept, **variables)
    done = subprocess.run(
        [sys.executable, "-m", "layerzoo", "pull", "mine/speech", *options],
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def features() -> Any:
    clip = (np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32), 16_000)
    return layerzoo.extract("mine/speech", [clip], pool="none")["block.1"][0]


def test_a_file_without_a_stated_digest_is_opened_after_its_digest_is_locked(
    web: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERZOO_OFFLINE", "1")
    with pytest.raises(UnsafeWeightsError, match=r"and none is locked.* Next: zoo pull mine/speech, which writes the"):
        features()
    said = pull(web, LAYERZOO_OFFLINE="0")
    locked = json.loads(Path("layerzoo.lock").read_text())["models"]["mine/speech"]
    assert f"From now on only this file is opened: speech.pth {locked['files']['speech.pth']['sha256']}" in said
    torch.manual_seed(0)
    network = wav2vec2_model(**TINY).eval()
    clip = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32))
    with torch.no_grad():
        expected = network.extract_features(clip[None])[0][1][0]
    assert np.array_equal(features(), expected.numpy())
    assert np.array_equal(features(), expected.numpy())
    assert len(list(Path(os.environ["LAYERZOO_CACHE"]).rglob("*.safetensors"))) == 1  # converted once
    Path("layerzoo.lock").write_text(json.dumps({"layerzoo_lock": 1, "models": {"mine/speech": other(locked)}}))
    with pytest.raises(DigestError, match="zoo lock --update mine/speech"):
        features()


def other(locked: dict[str, Any]) -> dict[str, Any]:
    """The lock of another file."""
    return {**locked, "files": {"speech.pth": {**locked["files"]["speech.pth"], "sha256": "0" * 64}}}


def test_without_a_lock_nothing_is_downloaded(web: Hub) -> None:
    assert "Next: zoo pull mine/speech" in pull(web, "--no-lock")
    assert web.requests == []


@pytest.mark.parametrize("template", ["{mirror}/files/", "{mirror}/files/{{path}}"])
def test_a_mirror_serves_the_files_of_a_link(web: Hub, template: str) -> None:
    declare("https://publisher.invalid/speech.pth")
    said = pull(web, LAYERZOO_WEIGHTS_BASE_URL=template.format(mirror=web.url))
    assert "Locked in " in said
    locked = json.loads(Path("layerzoo.lock").read_text())["models"]["mine/speech"]
    assert locked["source"] == "https://publisher.invalid/speech.pth"


def test_a_mirror_without_https_is_refused(web: Hub) -> None:
    said = pull(web, LAYERZOO_WEIGHTS_BASE_URL="http://mirror.example")
    assert "LAYERZOO_WEIGHTS_BASE_URL=http://mirror.example is not the address of a mirror" in said
    assert web.requests == []


def test_a_missing_file_of_a_mirror_is_reported_with_both_addresses(web: Hub) -> None:
    declare("https://publisher.invalid/other.pth")
    said = pull(web, LAYERZOO_WEIGHTS_BASE_URL=f"{web.url}/files")
    assert f"https://publisher.invalid/other.pth (mirror: {web.url}/files/other.pth)" in said.replace("\n", " ")
