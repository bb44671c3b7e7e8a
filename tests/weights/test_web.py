"""Files from URLs: only https, and identified by SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from safetensors.numpy import save
from tests.hub import Hub

from layerzoo.cli import main
from layerzoo.errors import UnsafeWeightsError, WeightsError
from layerzoo.lock import Lock, LockedFile, LockedModel
from layerzoo.registry import registry
from layerzoo.spec import Weights
from layerzoo.weights import resolve

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b": np.ones((20, 100), np.float32)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()

PULL = """
import json, sys
from layerzoo.errors import LayerzooError
from layerzoo.spec import Weights
from layerzoo.weights import resolve
from layerzoo.weights.spans import Span
source, digests, want = sys.argv[1:]
known = json.loads(digests)
prefix = known.pop("prefix", None)
try:
    weights = Weights(source=source, sha256=tuple(known.items()), sha256_prefix=prefix)
    files = resolve(weights, model="mine/web", extent=want)
    for part in files.partial.values():
        part.ensure([Span(0, 1000)])
    print(json.dumps({name: str(files[name]) for name in files}))
except LayerzooError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def web() -> Iterator[Hub]:
    with Hub(tls=True) as running:
        running.file("model.safetensors", WEIGHTS)
        yield running


def pull(web: Hub, home: Path, *, want: str = "whole", **variables: str) -> str:
    """Download in a separate process, because trusted certificate authorities are loaded once per process."""
    return run(web, home, f"{web.url}/files/model.safetensors", {"model.safetensors": SHA256}, want, **variables)


def run(web: Hub, home: Path, source: str, digests: dict[str, str], want: str = "whole", **variables: str) -> str:
    command = [sys.executable, "-c", PULL, source, json.dumps(digests), want]
    kept = {"LAYERZOO_CACHE": os.environ["LAYERZOO_CACHE"], **variables}
    environment = web.environment(home.parent / "huggingface", **kept)
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def test_a_url_is_downloaded_once_and_verified(web: Hub, home: Path) -> None:
    path = Path(json.loads(pull(web, home))["model.safetensors"])
    assert path.read_bytes() == WEIGHTS
    web.requests.clear()
    assert json.loads(pull(web, home, LAYERZOO_OFFLINE="1")) == {"model.safetensors": str(path)}
    assert web.requests == []


def test_a_partial_download_is_completed_with_the_rest_only(web: Hub, home: Path) -> None:
    pull(web, home, want="partial")
    first = web.bytes_sent()
    assert first == 1 + 1000  # one byte, to learn the size of the file
    assert Path(json.loads(pull(web, home))["model.safetensors"]).read_bytes() == WEIGHTS
    assert web.bytes_sent() - first == len(WEIGHTS) - 1000


def test_an_interrupted_download_continues_at_the_same_byte(web: Hub, home: Path) -> None:
    web.cut("/files/*", after_bytes=50_000, after=1, times=2)
    assert Path(json.loads(pull(web, home))["model.safetensors"]).read_bytes() == WEIGHTS
    assert web.bytes_sent() == 1 + len(WEIGHTS)


def test_a_file_that_differs_from_its_declaration_is_refused_and_removed(web: Hub, home: Path) -> None:
    reported = run(web, home, f"{web.url}/files/model.safetensors", {"model.safetensors": "0" * 64})
    assert reported.startswith("DigestError: ")
    assert f"its sha256 is {SHA256}, not {'0' * 64}. All of it came from {web.url}/files/model.safetensors" in reported
    assert not list(Path(os.environ["LAYERZOO_CACHE"]).rglob("*.safetensors"))


def test_a_file_is_verified_with_the_first_digits_of_its_sha256(web: Hub, home: Path) -> None:
    source = f"{web.url}/files/model.safetensors"
    path = Path(json.loads(run(web, home, source, {"prefix": SHA256[:8]}))["model.safetensors"])
    assert path.read_bytes() == WEIGHTS
    reported = run(web, home, source, {"prefix": "01234567"})
    assert f"its sha256 is {SHA256}, not 01234567" in reported
    assert len(list(Path(os.environ["LAYERZOO_CACHE"]).rglob("*.safetensors"))) == 1


def test_the_locked_sha256_is_verified_where_the_first_digits_are_declared(web: Hub, home: Path) -> None:
    source = f"{web.url}/files/model.safetensors"
    path = Path(json.loads(run(web, home, source, {"prefix": SHA256[:8]}))["model.safetensors"])
    lock = Lock(home / "layerzoo.lock")
    locked = LockedModel(source, None, {path.name: LockedFile(SHA256, len(WEIGHTS))})
    lock.with_models({"mine/web": locked}).write()
    web.requests.clear()
    assert "model.safetensors" in run(web, home, source, {"prefix": SHA256[:8]})
    assert web.requests == []
    other = SHA256[:8] + "0" * 56
    lock.with_models({"mine/web": LockedModel(source, None, {path.name: LockedFile(other, 1)})}).write()
    assert f"its sha256 is {SHA256}, not {other}" in run(web, home, source, {"prefix": SHA256[:8]})


def test_pull_locks_the_whole_sha256_where_the_first_digits_are_declared(web: Hub, home: Path) -> None:
    source = f"{web.url}/files/model.safetensors"
    Path("registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/web:\n    modality: vision\n    builder: timm\n"
        f"    args: {{name: test_vit}}\n    weights: {{source: '{source}', sha256_prefix: '{SHA256[:8]}'}}\n"
    )
    kept = {"LAYERZOO_CACHE": os.environ["LAYERZOO_CACHE"]}
    command = [sys.executable, "-m", "layerzoo", "pull", "mine/web"]
    environment = web.environment(home.parent / "huggingface", **kept)
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    locked = Lock.read(home / "layerzoo.lock").models["mine/web"]
    assert locked == LockedModel(source, None, {"model.safetensors": LockedFile(SHA256, len(WEIGHTS))})
    assert web.bytes_sent() == 1 + len(WEIGHTS)


def test_a_local_change_is_detected_and_the_file_is_downloaded_again(web: Hub, home: Path) -> None:
    path = Path(json.loads(pull(web, home))["model.safetensors"])
    path.write_bytes(WEIGHTS[:-1] + b"x")
    assert "It was changed on this machine after it came from https://" in pull(web, home)
    assert Path(json.loads(pull(web, home))["model.safetensors"]).read_bytes() == WEIGHTS


def test_declared_files_of_the_same_folder_are_downloaded_too(web: Hub, home: Path) -> None:
    web.file("sub/config.json", b"{}")
    digests = {"model.safetensors": SHA256, "sub/config.json": hashlib.sha256(b"{}").hexdigest()}
    files = json.loads(run(web, home, f"{web.url}/files/model.safetensors", digests))
    assert Path(files["sub/config.json"]).read_text() == "{}"


def test_a_server_without_a_trusted_certificate_is_refused(web: Hub, home: Path) -> None:
    other = home / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    reported = pull(web, home, SSL_CERT_FILE=str(other))
    assert reported.startswith("ConnectionFailedError: https://")
    assert "the server cannot prove who it is" in reported
    assert reported.endswith("Next: if you trust who signed its certificate, name the file of that with SSL_CERT_FILE")


def test_a_certificate_file_without_certificates_is_reported(web: Hub, home: Path) -> None:
    reported = pull(web, home, SSL_CERT_FILE=os.devnull)
    assert reported.startswith("ConnectionFailedError: https://")
    assert reported.endswith("Next: look at SSL_CERT_FILE and SSL_CERT_DIR")


def test_offline_the_error_names_the_download_command(web: Hub, home: Path) -> None:
    reported = pull(web, home, HF_HUB_OFFLINE="1")
    assert reported.startswith("OfflineError: https://")
    assert reported.endswith("Next, with a connection: zoo pull mine/web")
    assert web.requests == []


def test_a_url_requires_a_sha256(home: Path) -> None:
    with pytest.raises(UnsafeWeightsError, match="needs its sha256 declared, so that another file is noticed"):
        resolve(Weights(source="https://example.org/model.safetensors"))


def test_an_unencrypted_url_is_refused(home: Path) -> None:
    source = "http://example.org/model.safetensors"
    with pytest.raises(WeightsError, match=r"not encrypted: write https://example\.org/model\.safetensors"):
        resolve(Weights(source=source, sha256=(("model.safetensors", SHA256),)))


@pytest.mark.parametrize("host", ["example.org:999999", "exa mple.org", "[::1"])
def test_an_invalid_url_is_reported(home: Path, host: str) -> None:
    with pytest.raises(WeightsError, match="is not a source of weights"):
        resolve(Weights(source=f"https://{host}/m.safetensors", sha256=(("m.safetensors", SHA256),)))


LINK, SETTINGS = "https://publisher.invalid/model.safetensors", "https://publisher.invalid/other/s.json"


@pytest.mark.parametrize("known", [{"sha256_prefix": SHA256[:8]}, {"sha256": (("model.safetensors", SHA256),)}])
def test_a_further_file_without_a_sha256_is_refused(known: dict[str, Any], home: Path) -> None:
    with pytest.raises(UnsafeWeightsError, match=rf"^{SETTINGS} needs its sha256 declared.*sha256: \{{s.json: …\}}"):
        resolve(Weights(source=LINK, files=(("s.json", SETTINGS),), **known), model="mine/web")


def test_a_link_that_was_added_after_the_lock_is_not_fetched_before_it_is_locked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: dict[str, Any] = {"modality": "vision", "builder": "timm", "args": {"name": "test_vit"}}
    model["weights"] = {"source": LINK, "lock": True, "files": {"s.json": SETTINGS}}
    Path("registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/web": model}}))
    locked = LockedModel(LINK, None, {"model.safetensors": LockedFile(SHA256, len(WEIGHTS))})
    Lock(home / "layerzoo.lock").with_models({"mine/web": locked}).write()
    said = f"{SETTINGS} is a file whose publisher states no sha256, and none is locked"
    with pytest.raises(UnsafeWeightsError, match=rf"{said}.*Next: zoo lock --update mine/web"):
        resolve(registry().model("mine/web").weights, model="mine/web")
    with pytest.raises(SystemExit):
        main(["pull", "mine/web"])
    assert said in capsys.readouterr().err.replace("\n", " ")
