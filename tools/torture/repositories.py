"""Attacks by those who control a repository of the hub, or the hub itself.

Small repositories of twenty types are modified value by value, and get files that refer to paths outside the
repository, or that contain counts too large for any computer. The hub answers on the loopback interface, over HTTP.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub import Hub
from tests.hub.exchange import Answer, Request, Respond
from tools.torture.outcome import Outcome
from tools.torture.small_repositories import SmallRepository, small_repositories

_LIMIT_S = 60.0
_LONGEST_S = 300.0
"""The limit for a process that waits without computing."""
_MANY = 10
"""The count from which repositories of all types are attacked."""
_LARGEST_BYTES = 1 << 30
_PROMISE = (
    "features or a named error within 60 s; no connection but to the hub, no process, no file elsewhere, at most 1 GB"
)
_REACH = "refused by name; no connection but to the hub, no file elsewhere, no code"
_HUB_PROMISE = "features of the right weights or a named error within 60 s; no file outside of the caches"


def attacks(random: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Attack with modified files, with files that refer to others, with large counts, and with a hostile hub.

    Args:
        random: the only source of random numbers.
        scratch: an empty folder.
        count: the number of attacks of each kind. Kinds with a fixed number of cases run at most these.
    """
    kinds = small_repositories(few=count < _MANY)
    secret = scratch / "elsewhere"
    secret.mkdir()
    for name in ("secret.json", "secret.pth", "secret.txt"):
        (secret / name).write_text("{}", encoding="utf-8")
    with Hub() as hub, Client(hub, scratch, secret) as client:
        client.warm_up(kinds)
        yield from mutations(kinds, client, random, count)
        yield from _reaching(kinds, client, secret, random, count)
        yield from _counting(kinds, client, random, count)
        yield from _hostile_hub(kinds, client, random, count)


# ---------------------------------------------------------------- the attacked process


class Client:
    """A process that uses the hub's models one after another, restarted if it hangs or ends."""

    def __init__(self, hub: Hub, scratch: Path, secret: Path) -> None:
        self.hub = hub
        self.home = scratch / "home"
        self._secret = secret
        self._samples = _samples(scratch)
        self._number = 0
        self._modalities: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def use(self, repository: SmallRepository, files: dict[str, bytes]) -> dict[str, Any]:
        """Publish files under a new name, use the model, and return the outcome."""
        self._number += 1
        name = f"acme/{repository.name.replace(' ', '-')}-{self._number}"
        self.hub.repository(name).commit(dict(files))
        try:
            return self.ask(f"{repository.namespace}/{name}", self._samples[repository.modality])
        finally:
            del self.hub._contents.repositories[name]
            if self._number % 50 == 0:
                shutil.rmtree(self.home / "huggingface", ignore_errors=True)

    def warm_up(self, kinds: list[SmallRepository]) -> None:
        """Use each unmodified repository. Raises: RuntimeError if one gives no features."""
        for repository in kinds:
            answer = self.use(repository, repository.files)
            if "features" not in answer:
                raise RuntimeError(f"{repository.name}, unchanged, gives {answer}")

    def ask(self, model: str, inputs: list[str]) -> dict[str, Any]:
        """Request the use of a model. A process that does not answer in time is killed, which is the outcome."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        kind = f"{model.partition('/')[0]} {inputs}"
        asked = {"model": model, "inputs": inputs, "is_first": kind not in self._modalities}
        self._modalities.add(kind)
        process.stdin.write((json.dumps(asked) + "\n").encode())
        process.stdin.flush()
        if not _answers(process):
            self._end()
            return {"crash": f"no answer in {_LIMIT_S:g} s", "seen": [], "bytes": 0}
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            return {"crash": f"the process ended with {code}", "seen": [], "bytes": 0}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._modalities.clear()
            variables = {
                "LAYERZOO_CACHE": str(self.home / "cache"),
                "XDG_CONFIG_HOME": str(self.home / "config"),
                "HF_HUB_DOWNLOAD_TIMEOUT": "1",
                "TORTURE_FORBIDDEN": os.pathsep.join([str(self._secret), "/etc/passwd"]),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            self.home.mkdir(exist_ok=True)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.torture.hub_client"],
                env=self.hub.environment(self.home / "huggingface", **variables),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _answers(process: subprocess.Popen[bytes]) -> bool:
    """Wait for an answer. The limit applies to CPU time, since other processes share the machine."""
    assert process.stdout is not None
    started, before = time.monotonic(), _cpu_s(process.pid)
    while not select.select([process.stdout], [], [], 0.5)[0]:
        if _cpu_s(process.pid) - before > _LIMIT_S or time.monotonic() - started > _LONGEST_S:
            return False
    return True


def _cpu_s(process: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _samples(scratch: Path) -> dict[str, list[str]]:
    from PIL import Image

    Image.new("RGB", (48, 40), (90, 120, 200)).save(scratch / "image.png")
    with wave.open(str(scratch / "audio.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\1\0\2\0" * 8_000)
    return {
        "text": ["a fine film"],
        "vision": [str(scratch / "image.png")],
        "audio": [str(scratch / "audio.wav")],
    }


@dataclass
class _Row:
    """The counts for a row of the table."""

    attack: str
    promise: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def note(self, what: str, answer: dict[str, Any], *, wants_error: bool = False) -> None:
        """Count an attack. wants_error: whether features are a failure too."""
        self.tried += 1
        why = _broken(answer)
        if why is None and wants_error and "features" in answer:
            why = "gave features"
        if why is not None:
            self.failures.append(f"{what[:120]}: {why}")

    def outcome(self) -> Outcome:
        held = self.tried - len(self.failures)
        return Outcome(self.attack, self.tried, held, self.promise, tuple(self.failures[:10]))


def _broken(answer: dict[str, Any]) -> str | None:
    """Return how the promise was broken, or None."""
    if "crash" in answer:
        return str(answer["crash"])
    if answer["seen"]:
        return ", ".join(answer["seen"])
    return f"{answer['bytes'] / 1e9:.1f} GB" if answer["bytes"] > _LARGEST_BYTES else None


# ---------------------------------------------------------------- files modified value by value


def mutations(kinds: list[SmallRepository], client: Client, random: random.Random, count: int) -> Iterator[Outcome]:
    """Modify each kind of file of each repository, so that each repository is used ``count`` times."""
    rows: dict[str, _Row] = {}
    for repository in kinds:
        for at in range(count):
            name = repository.small_files[at % len(repository.small_files)]
            leaf = name.rpartition("/")[2]
            row = rows.setdefault(leaf, _Row(f"changed values in `{leaf}`", _PROMISE))
            changed, what = _mutated(repository.files[name], random)
            row.note(f"{repository.name}: {what}", client.use(repository, {**repository.files, name: changed}))
    yield from (row.outcome() for row in rows.values())


_VALUES: list[Callable[[random.Random], Any]] = [
    lambda random: None,
    lambda random: True,
    lambda random: 10**30,
    lambda random: random.choice([200_000, 10**9, 2**31, 2**63]),
    lambda random: -random.choice([1, 7, 10**9]),
    lambda random: 0,
    lambda random: random.choice([1e400, float("nan"), -1e-400, 0.5]),
    lambda random: "",
    lambda random: "x" * 1_000_000,
    lambda random: random.choice(["\u202e\U0001f600", "\x1b]0;owned\x07\x1b[31m", "a\nfailed: b", "\ud800", "\0"]),
    lambda random: random.choice(["../../secret", "/etc/passwd", "file:///etc/passwd", "~/.netrc"]),
    lambda random: random.choice(["hf-hub:evil/evil", "local-dir:/etc", "evil/evil", "http://127.0.0.1:9/evil"]),
    lambda random: "zzz requires the evilpkg library, pip install evilpkg",
    lambda random: [],
    lambda random: {},
    lambda random: list(range(100_000)),
    lambda random: {str(at): at for at in range(100_000)},
    lambda random: [[["x"]]],
]
_INSERTED: dict[str, Any] = {
    "attn_implementation": "evil/kernel:run",
    "_attn_implementation": "evil/kernel",
    "auto_map": {"AutoConfig": "evil/evil--code.Config", "AutoModel": "code.Model", "AutoTokenizer": ["a.B", "a.C"]},
    "backbone": "evil/backbone",
    "use_pretrained_backbone": True,
    "quantization_config": {"quant_method": "evil"},
    "tokenizer_class": "Trainer",
    "image_processor_type": "AutoModel",
    "feature_extractor_type": "pipeline",
    "model_args": {"checkpoint_path": "/etc/passwd"},
    "gguf_file": "../../secret.gguf",
    "init_inputs": ["/etc/passwd"],
    "chat_template": "{% for i in range(10**9) %}{{ ''.__class__ }}{% endfor %}",
    "fast_tokenizer_files": ["../../tokenizer.1.0.json"],
    "configuration_files": ["../../config.1.0.json"],
    "use_kernels": True,
    "num_labels": 10**9,
    "class_info_file": "/etc/passwd",
    "repo_path": "evil/evil",
}


def _mutated(content: bytes, random: random.Random) -> tuple[bytes, str]:
    """Return a file with one to three changes, and their description."""
    try:
        plain = json.loads(content)
    except ValueError:
        return _mutated_text(content, random), "text"
    if random.random() < 0.12:
        return _mutated_text(content, random), "bytes"
    told = []
    for _ in range(random.choice([1, 1, 2, 3])):
        if isinstance(plain, dict) and random.random() < 0.2:
            key = random.choice(sorted(_INSERTED))
            plain[key] = _INSERTED[key]
            told.append(f"+{key}")
            continue
        holder, key = _place(plain, random)
        if holder is None:
            continue
        if random.random() < 0.1:
            del holder[key]
            told.append(f"-{key}")
        else:
            holder[key] = random.choice(_VALUES)(random)
            told.append(f"{key}={str(holder[key])[:40]!r}")
    return json.dumps(plain).encode("utf-8", "surrogatepass"), ", ".join(told)


def _place(plain: Any, random: random.Random) -> tuple[Any, Any]:
    """Return a random position in a JSON value: its container, and its key there."""
    places: list[tuple[Any, Any]] = []
    open_values = [plain]
    while open_values:
        value = open_values.pop()
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        places += [(value, key) for key in keys]
        open_values += [value[key] for key in keys]
    return random.choice(places) if places else (None, None)


def _mutated_text(content: bytes, random: random.Random) -> bytes:
    kind = random.randrange(6)
    if kind == 0:
        return content[: random.randrange(len(content))]
    if kind == 1:
        return b"[" * 200_000 + b"]" * 200_000
    if kind == 2:
        return b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    if kind == 3:
        return b"\xff\xfe\0" + content
    if kind == 4:
        return b""
    at = random.randrange(len(content))
    return content[:at] + bytes(random.randrange(256) for _ in range(4)) + content[at + 4 :]


# ---------------------------------------------------------------- files that refer to paths outside the repository


def _reaching(
    kinds: list[SmallRepository], client: Client, secret: Path, random: random.Random, count: int
) -> Iterator[Outcome]:
    cases = _reaching_cases(secret)
    row = _Row("files that name another repository, a file elsewhere, a kernel or a class", _REACH)
    by_name = {each.name: each for each in kinds}
    for kind, file, change in random.sample(cases, min(len(cases), count)):
        repository = by_name[kind]
        plain = {**json.loads(repository.files[file]), **change}
        answer = client.use(repository, {**repository.files, file: json.dumps(plain).encode()})
        row.note(f"{kind}, {file}: {json.dumps(change)}", answer, wants_error=True)
    yield row.outcome()


def _reaching_cases(secret: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Yield the type of a repository, its file, and the keys to add."""
    config, tokenizer, processor = "config.json", "tokenizer_config.json", "preprocessor_config.json"
    timm, wrapped = "timm test_resnet", {"model_type": "timm_wrapper"}
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("detr", config, {"backbone_config": None, "backbone": name, "use_timm_backbone": use})
        for name in ("evil/backbone", "hf-hub:evil/backbone", f"local-dir:{secret}", str(secret))
        for use in (True, False)
    ]
    cases += [
        ("detr", config, {"backbone_config": {"model_type": "timm_backbone", "backbone": name}})
        for name in ("hf-hub:evil/backbone", "HF_HUB:evil/backbone", f"local-dir:{secret}")
    ]
    cases += [(timm, config, {"architecture": name}) for name in ("hf-hub:evil/x", f"local-dir:{secret}", "a/b")]
    cases += [("bert", config, {**wrapped, "architecture": name}) for name in ("hf-hub:evil/x", f"local-dir:{secret}")]
    cases += [
        ("bert", config, {**wrapped, "architecture": "test_resnet", "model_args": {key: value}})
        for key, value in (("checkpoint_path", str(secret / "secret.pth")), ("pretrained", True))
    ]
    cases += [
        (timm, config, {"model_args": {key: value}})
        for key, value in (
            ("checkpoint_path", str(secret / "secret.pth")),
            ("pretrained", True),
            ("pretrained_cfg", {"file": str(secret / "secret.pth")}),
            ("pretrained_cfg_overlay", {"url": "http://127.0.0.1:9/x"}),
            ("cache_dir", str(secret)),
        )
    ]
    cases += [
        (kind, config, {key: value})
        for kind in ("bert", "vit", "wav2vec2")
        for key in ("attn_implementation", "_attn_implementation", "experts_implementation")
        for value in ("evil/kernel", "evil/kernel@main:run", "paged|evil/kernel")
    ]
    cases += [
        ("bert", tokenizer, {"tokenizer_class": name}) for name in ("Trainer", "BertModel", "AutoModel", "logging")
    ]
    cases += [
        ("bert", tokenizer, {key: value})
        for key, value in (
            ("gguf_file", str(secret / "secret.json")),
            ("init_inputs", [str(secret / "secret.txt")]),
            ("fast_tokenizer_files", [f"{secret}/tokenizer.4.0.json"]),
            ("sp_model_kwargs", {"model_file": str(secret / "secret.txt")}),
        )
    ]
    cases += [
        ("vit", processor, {"image_processor_type": name}) for name in ("AutoModel", "ViTModel", "pipeline", "Trainer")
    ]
    cases += [("wav2vec2", processor, {"feature_extractor_type": name}) for name in ("Wav2Vec2Model", "pipeline")]
    for name, repo in (("OneFormerImageProcessor", "evil/evil"), ("OneFormerImageProcessor", str(secret))):
        cases.append(
            ("vit", processor, {"image_processor_type": name, "repo_path": repo, "class_info_file": "secret.json"})
        )
    cases += [
        ("sentence-transformers", "sentence_bert_config.json", {"tokenizer_args": {key: str(secret / "secret.txt")}})
        for key in ("vocab_file", "tokenizer_file", "gguf_file", "subfolder", "cache_dir")
    ]
    return cases


# ---------------------------------------------------------------- files with counts too large for any computer


def _counting(kinds: list[SmallRepository], client: Client, random: random.Random, count: int) -> Iterator[Outcome]:
    row = _Row("files that count billions of layers, pixels or samples, or nest 200,000 levels", _PROMISE)
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for number in (10**30, 10**9, 10**6, -(10**9), float("inf"), float("nan")):
        cases += [
            (kind, "config.json", {key: number})
            for kind, keys in (
                ("bert", ("num_hidden_layers", "hidden_size", "num_labels", "max_position_embeddings", "vocab_size")),
                ("gpt2", ("n_layer", "n_positions", "n_embd")),
                ("t5", ("num_layers", "relative_attention_num_buckets")),
                ("vit", ("image_size", "patch_size", "num_channels", "num_hidden_layers")),
                ("wav2vec2", ("num_hidden_layers", "num_conv_pos_embeddings")),
            )
            for key in keys
        ]
        cases += [
            ("vit", "preprocessor_config.json", {"size": {"height": number, "width": number}}),
            ("vit", "preprocessor_config.json", {"size": {"shortest_edge": number}}),
            ("vit", "preprocessor_config.json", {"size_divisor": number, "do_pad": True}),
            ("wav2vec2", "preprocessor_config.json", {"feature_size": number}),
            ("wav2vec2", "preprocessor_config.json", {"sampling_rate": number}),
            ("bert", "tokenizer_config.json", {"model_max_length": number}),
            ("timm test_resnet", "config.json", {"num_classes": number}),
            ("timm test_resnet", "config.json", {"pretrained_cfg": {"input_size": [3, number, number]}}),
            ("timm test_vit", "config.json", {"model_args": {"img_size": number}}),
            ("timm test_vit", "config.json", {"model_args": {"depth": number}}),
        ]
    by_name = {each.name: each for each in kinds}
    for kind, file, change in random.sample(cases, min(len(cases), 2 * count)):
        repository = by_name[kind]
        plain = {**json.loads(repository.files[file]), **change}
        answer = client.use(repository, {**repository.files, file: json.dumps(plain).encode()})
        row.note(f"{kind}, {file}: {json.dumps(change)}", answer)
    yield row.outcome()


# ---------------------------------------------------------------- a hostile hub


def _hostile_hub(kinds: list[SmallRepository], client: Client, random: random.Random, count: int) -> Iterator[Outcome]:
    hub = client.hub
    repository = next(each for each in kinds if each.name == "bert")
    faults = _faults(hub, random)
    for kind, plan in faults.items():
        row = _Row(f"a hub that {kind}", _HUB_PROMISE)
        for _ in range(max(1, count // 8)):
            plan()
            before = _files_outside(client.home)
            row.note(kind, client.use(repository, repository.files))
            hub.heal()
            if (made := _files_outside(client.home) - before) and row.tried > len(row.failures):
                row.failures.append(f"{kind}: wrote {', '.join(sorted(made))[:200]}")
        yield row.outcome()


def _files_outside(home: Path) -> set[str]:
    """Return the names of all files outside the caches."""
    return {path.name for path in home.parent.iterdir()} | {path.name for path in home.iterdir() if path.is_file()}


def _faults(hub: Hub, random: random.Random) -> dict[str, Callable[[], None]]:
    """Return the faults of a hub, by their names in the table."""
    files = ["*/config.json", "*/vocab.txt", "*/model.safetensors"]

    def header(name: str, *values: str) -> Callable[[], None]:
        return lambda: hub.set_header("*/resolve/*", name, random.choice(values))

    def listing(change: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        def fault(request: Request, respond: Respond) -> Answer:
            plain = json.loads(respond(request).body)
            change(plain)
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(plain).encode())

        return lambda: hub.inject("/api/models/*", fault)

    def raw(body: Callable[[], bytes]) -> Callable[[], None]:
        answer = lambda request, respond: Answer(200, {"Content-Type": "application/json"}, body())  # noqa: E731
        return lambda: hub.inject("/api/models/*", answer)

    def sizes(plain: dict[str, Any]) -> None:
        for each in plain["siblings"]:
            each["size"] = random.choice([1e400, float("nan"), -1, 10**15, "1", None, 1.5])

    def names(plain: dict[str, Any]) -> None:
        bad = random.choice(["../../x.json", "/etc/x.json", "a\\..\\x.json", "x\0.json", "x" * 5000 + ".json"])
        plain["siblings"].append({**plain["siblings"][0], "rfilename": bad})

    return {
        "names a commit `../…` in its headers": header("X-Repo-Commit", "../../x", "/etc", "0" * 40),
        "names the content `../…` in its headers": header("ETag", '"../../x"', '"/etc/passwd"', '""'),
        "sends elsewhere": header("Location", "http://127.0.0.1:9/x", "file:///etc/passwd", "//evil.example/x"),
        "compresses what it was asked not to": header("Content-Encoding", "gzip", "br", "x"),
        "sends a byte a second": lambda: hub.slow(random.choice([*files, "/api/models/*"]), bytes_per_second=1),
        "changes bytes": lambda: hub.corrupt(random.choice(files), at=random.randrange(10)),
        "hangs up": lambda: hub.hang_up(random.choice([*files, "/api/models/*"])),
        "states other sizes in its list": listing(sizes),
        "lists names that leave the folder": listing(names),
        "lists a commit that is none": listing(
            lambda plain: plain.update(sha=random.choice(["../x", None, 3, "main"]))
        ),
        "nests its list 200,000 deep": raw(lambda: b"[" * 200_000),
        "sends a list of 100 MB": raw(lambda: b'{"siblings": [' + b"1," * 50_000_000 + b"1]}"),
        "says nothing of sense": raw(lambda: random.choice([b"", b"\xff", b"null", b"<html>", b'{"sha": 1e400}'])),
    }
