"""The mutants: the fault of each, and the check that finds it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tools.mutants.making import CORRECT, Base, Edit, Mutant, initial_tensors
from torch import Tensor


def _registry(old: str, new: str) -> Edit:
    return Edit("registry.yaml", old, new)


def _network(old: str, new: str) -> Edit:
    return Edit("network.py", old, new)


def _module(old: str, new: str) -> Edit:
    return Edit("__init__.py", old, new)


def _vision(name: str, code: str, *edits: Edit) -> Mutant:
    return Mutant(name, code, "vision", edits)


def _of(base: Base, name: str, code: str, *edits: Edit) -> Mutant:
    return Mutant(name, code, base, edits)


_NO_WEIGHTS = '    weights: {source: "file:weights.safetensors", sha256: '
_FORWARD = "        x = self.patches(images).flatten(2).transpose(1, 2)\n"
_BLOCKS = "        for block in self.blocks:\n            x = block(x)\n"
_NORM = "        x = self.norm(x)\n        scores"

STATIC = [
    _vision(
        "the entry point names no package",
        "static-entry-point",
        Edit("pyproject.toml", 'acme = "acme_zoo"', 'acme = "acme_zo"'),
    ),
    _vision(
        "the wheel leaves registry.yaml out",
        "static-entry-point",
        Edit(
            "pyproject.toml",
            "[project.entry-points",
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
            "[project.entry-points",
        ),
    ),
    _vision(
        "the namespace is reserved",
        "static-entry-point",
        Edit("pyproject.toml", 'acme = "acme_zoo"', 'mine = "acme_zoo"'),
    ),
    _vision("a key of registry.yaml is misspelt", "static-schema", _registry("summary:", "sumary:")),
    _vision(
        "an id is declared twice",
        "static-duplicate",
        _registry(
            "    default: {layer: norm, pool: cls}\n",
            "    default: {layer: norm}\n  vit:\n    modality: vision\n    builder: acme\n",
        ),
    ),
    _vision("`builders:` is missing", "static-builder", _registry("builders: [acme]\n", "")),
    _vision(
        "a builder has no hook",
        "static-builder",
        _module("@hookimpl\ndef layerzoo_build(", "def build_network("),
    ),
    _vision("@hookimpl is forgotten", "static-hookimpl", _module("@hookimpl\ndef", "def")),
    _vision("a hook is misspelt", "static-hook", _module("layerzoo_build", "layerzoo_biuld")),
    _vision(
        "a hook asks for an unknown argument",
        "static-hook",
        _module("(spec: ModelSpec)", "(spec: ModelSpec, size: int)"),
    ),
    _vision(
        "a library is missing",
        "static-import",
        _module("from layerzoo import", "import acme_library\nfrom layerzoo import"),
    ),
    _vision(
        "torch is imported at the top",
        "static-heavy-import",
        _module("from layerzoo import", "import torch\nfrom layerzoo import"),
    ),
    _vision(
        "the import opens a connection",
        "static-network",
        _module(
            "from layerzoo import",
            "import contextlib, socket\nwith contextlib.suppress(OSError):\n"
            '    socket.create_connection(("127.0.0.1", 9), timeout=0.2)\nfrom layerzoo import',
        ),
    ),
    Mutant(
        "a hook opens a connection",
        "static-network",
        "vision",
        (
            _module(
                "    from .network import VisionNetwork\n",
                "    import contextlib, socket\n    from .network import VisionNetwork\n"
                "    with contextlib.suppress(Exception):\n"
                '        socket.create_connection(("127.0.0.1", 9), timeout=0.2)\n',
            ),
        ),
        tier="shape",
    ),
    _vision(
        "weights on the hub name no commit",
        "static-pin",
        _registry('"file:weights.safetensors"', "hf://acme/vit/model.safetensors"),
    ),
    Mutant(
        "weights of a package have no sha256",
        "static-sha256",
        "vision",
        finish=lambda package: _without_digest(package, "package://acme-zoo/acme_zoo/weights.safetensors"),
    ),
    Mutant(
        "a file of weights has no sha256",
        "static-sha256",
        "vision",
        finish=lambda package: _without_digest(package, "file:weights.safetensors"),
    ),
    _vision("weights have no license", "static-license", _registry("    license: mit\n", "")),
    Mutant("the checkpoint is a pickle", "static-safetensors", "vision", finish=lambda package: _pickled(package)),
]

SHAPE = [
    _vision("the network does not run", "shape-build", _network("x[:, 0]", "x[:, 0] @ torch.ones(3, 3)")),
    _vision(
        "layerzoo_build returns no network",
        "shape-build",
        _module("return VisionNetwork(**spec.args.to_dict())", "return dict"),
    ),
    _vision(
        "each network has another width",
        "shape-build",
        _module("from layerzoo import", "from itertools import count\n\nfrom layerzoo import"),
        _module("@hookimpl\ndef layerzoo_build", "_WIDTHS = count(24, 8)\n\n\n@hookimpl\ndef layerzoo_build"),
        _module("(**spec.args.to_dict())", "(next(_WIDTHS))"),
    ),
    _vision("a layer never runs", "shape-layers", _registry("{module: norm,", "{module: final_norm,")),
    _vision(
        "a declared module is not called",
        "shape-layers",
        _network("        self.head =", "        self.extra = nn.LayerNorm(width)\n        self.head ="),
        _registry("{module: norm,", "{module: extra,"),
    ),
    _vision(
        "a shared module has no number of a call",
        "shape-layers",
        _network(
            _BLOCKS,
            "        for block in (self.blocks[0], self.blocks[0], self.blocks[1]):\n            x = block(x)\n",
        ),
    ),
    _vision(
        "a layer returns two tensors",
        "shape-layers",
        _network(
            "        mixed: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))",
            "        mixed = x, x + self.down(functional.gelu(self.up(self.norm2(x))))",
        ),
        _network("x = block(x)", "x = block(x)[1]"),
    ),
    _vision(
        "layers are in another order than they run",
        "shape-layers",
        _registry("{module: blocks.0,", "{module: blocks.9,"),
        _registry("{module: blocks.1,", "{module: blocks.0,"),
        _registry("{module: blocks.9,", "{module: blocks.1,"),
    ),
    _vision(
        "channels last are declared as channels first",
        "shape-axes",
        _network("        return patches\n", "        return patches.permute(0, 2, 3, 1)\n"),
        _network(_FORWARD, "        x = self.patches(images).flatten(1, 2)\n"),
        _registry("shape: [24, 4, 4], params: 4632", "params: 4632"),
    ),
    _vision(
        "a layer has more axes than declared",
        "shape-axes",
        _registry("{module: head, axes: batch channel, shape: [5]}", "{module: head, axes: batch token channel}"),
    ),
    _vision(
        "a width is wrong",
        "shape-width",
        _registry("axes: batch channel, shape: [5]", "axes: batch channel, shape: [6]"),
    ),
    _vision(
        "prefix tokens are wrong",
        "shape-prefix-tokens",
        _registry(
            "norm: {module: norm, axes: batch token channel, shape: [17, 24], prefix_tokens: 1}",
            "norm: {module: norm, axes: batch token channel, shape: [17, 24], prefix_tokens: 2}",
        ),
    ),
    _vision(
        "the class token is not declared",
        "shape-prefix-tokens",
        _registry(
            "norm: {module: norm, axes: batch token channel, shape: [17, 24], prefix_tokens: 1}",
            "norm: {module: norm, axes: batch token channel, shape: [17, 24], prefix_tokens: 0}",
        ),
        _registry("pool: cls", "pool: mean"),
    ),
    _of("audio", "the hop of frames is wrong", "shape-frames", _registry("[25, 10]", "[25, 20]")),
    _vision("the number of parameters is wrong", "shape-costs", _registry("params: 4632", "params: 9632")),
    _vision(
        "the default pooling does not fit",
        "shape-default",
        _registry("{layer: norm, pool: cls}", "{layer: stem, pool: cls}"),
    ),
    _vision(
        "the default layer does not exist", "static-schema", _registry("{layer: norm, pool: cls}", "{layer: block.7}")
    ),
    Mutant("a trace is stale after an edit", "shape-stale", "vision", finish=lambda package: _stale(package)),
]

LAW = [
    _vision(
        "a forward pass counts the hooks",
        "law-many",
        _network(
            _FORWARD, _FORWARD + "        x = x + 0.1 * (sum(bool(m._forward_hooks) for m in self.modules()) > 1)\n"
        ),
    ),
    _vision(
        "a forward pass depends on whether it is cut",
        "law-cut",
        _network(_FORWARD, _FORWARD + '        x = x + 0.1 * (self.head.__class__.__name__ == "Linear")\n'),
    ),
    _vision(
        "the cut runs too far",
        "law-stop",
        _network(
            _BLOCKS,
            "        for block in self.blocks:\n            try:\n                x = block(x)\n"
            "            except:  # noqa: E722\n                x = x.clone()\n",
        ),
    ),
    _vision(
        "the first layer reads all weights",
        "law-dropped",
        _network(
            _FORWARD, "        images = images + 0 * sum(tensor.sum() for tensor in self.parameters())\n" + _FORWARD
        ),
    ),
    _vision(
        "statistics of the batch",
        "law-batch",
        _network(
            "        self.norm = nn.LayerNorm(width)\n",
            "        self.norm = nn.BatchNorm1d(17, track_running_stats=False)\n",
        ),
    ),
    _vision(
        "the mean of the batch is subtracted",
        "law-batch",
        _network(_NORM, "        x = x - x.mean(0, keepdim=True)\n" + _NORM),
    ),
    _of(
        "text",
        "padding leaks into a mean",
        "law-padding",
        _network("        return (x * weights).sum(1) / weights.sum(1)", "        return (x + 0 * weights).mean(1)"),
    ),
    _of(
        "text",
        "the attention ignores the mask",
        "law-padding",
        _network(
            "        allowed = mask.bool()[:, None, :]", "        allowed = torch.ones_like(mask).bool()[:, None, :]"
        ),
    ),
    _of(
        "text",
        "the last token is selected by position",
        "law-padding",
        _network(
            "        return (x * weights).sum(1) / weights.sum(1)", "        return x[:, -1] + 0 * weights[:, -1]"
        ),
    ),
    _of("text", "the mask is too weak", "law-padding", _network("attn_mask=allowed)", "attn_mask=(~allowed) * -5.0)")),
    _of(
        "audio",
        "audio is normalised over its padding",
        "law-padding",
        _network(
            "        frames = self.frames(waveform)\n",
            "        frames = self.frames(waveform - waveform.mean(1, keepdim=True))\n",
        ),
    ),
    _of(
        "audio",
        "the mask of audio is ignored",
        "law-padding",
        _network(
            "        is_valid = torch.arange(frames.shape[1], device=frames.device)[None] < valid[:, None]\n",
            "        is_valid = torch.ones_like(frames[..., 0]).bool() & (valid[:, None] > 0)\n",
        ),
    ),
    _vision(
        "a forward pass changes the next one",
        "law-order",
        _network(
            "        self.head =",
            '        self.register_buffer("mean", torch.zeros(width), persistent=False)\n        self.head =',
        ),
        _network(
            _NORM, "        x = x - self.mean\n        self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 1))\n" + _NORM
        ),
    ),
    _vision(
        "dropout is always on",
        "law-determinism",
        _network(
            "        mixed: Tensor = x + self.down(",
            "        x = functional.dropout(x, 0.1)\n        mixed: Tensor = x + self.down(",
        ),
    ),
    _vision(
        "noise is added", "law-determinism", _network(_NORM, "        x = x + 0.01 * torch.randn_like(x)\n" + _NORM)
    ),
    _vision(
        "a private generator",
        "law-determinism",
        _network(
            _NORM,
            "        import numpy\n"
            "        noise = numpy.random.default_rng().standard_normal(x.shape[-1])\n"
            "        x = x + torch.tensor(noise, dtype=x.dtype, device=x.device)\n" + _NORM,
        ),
    ),
    _vision(
        "eval() has no effect",
        "law-eval",
        _network(
            "    def forward(self, images: Tensor) -> Tensor:\n" + _FORWARD,
            "    def train(self, mode: bool = True) -> VisionNetwork:\n"
            "        return super().train(True)\n\n    def forward(self, images: Tensor) -> Tensor:\n" + _FORWARD,
        ),
    ),
    _vision("forward calls train()", "law-eval", _network(_FORWARD, "        self.blocks.train()\n" + _FORWARD)),
    _vision(
        "a forward pass leaves a hook",
        "law-hooks",
        _network(_FORWARD, "        self.norm.register_forward_hook(lambda *values: None)\n" + _FORWARD),
    ),
    _vision(
        "the network registers a global hook",
        "law-hooks",
        _network(
            "        self.patches =",
            "        nn.modules.module.register_module_forward_hook(lambda *values: None)\n        self.patches =",
        ),
    ),
    _vision(
        "a layer is overwritten in place",
        "law-inplace",
        _network(_BLOCKS, "        for block in self.blocks:\n            x = block(x)\n            x += 0.5\n"),
    ),
    _vision(
        "the input is overwritten in place", "law-inplace", _network(_FORWARD, "        images.mul_(2.0)\n" + _FORWARD)
    ),
    _vision(
        "a layer returns a buffer that it reuses",
        "law-inplace",
        _network("        self.head = nn.Linear(width, 5)\n", "        self.head = Reused(width)\n"),
        _network(
            "class VisionNetwork",
            "class Reused(nn.Linear):\n    def __init__(self, width: int) -> None:\n"
            "        super().__init__(width, 5)\n        self.kept: dict[int, Tensor] = {}\n\n"
            "    def forward(self, x: Tensor) -> Tensor:\n        result = super().forward(x)\n"
            "        if result.is_meta:\n            return result\n"
            "        kept = self.kept.setdefault(len(x), torch.empty_like(result))\n"
            "        return kept.copy_(result)\n\n\nclass VisionNetwork",
        ),
    ),
    _vision(
        "the output is float64",
        "law-dtype",
        _network(
            "        scores: Tensor = self.head(x[:, 0])\n",
            "        x = x.double()\n        scores: Tensor = self.head.double()(x[:, 0])\n",
        ),
    ),
    _vision(
        "a division by zero",
        "law-finite",
        _network(_NORM, "        x = x / (x - x).abs().sum(-1, keepdim=True)\n" + _NORM),
    ),
    _vision(
        "the network does not run in bfloat16",
        "law-precision",
        _network(
            _NORM,
            "        if not x.is_meta:\n"
            "            x = torch.tensor(self.head(x).detach().numpy().mean()).to(x.device) * 0 + "
            "x\n" + _NORM,
        ),
    ),
]

PREPROCESS = [
    _of(
        "library",
        "the mean is not that of the library",
        "preprocess-library",
        _registry("mean: [0.5, 0.5, 0.5]", "mean: [0.485, 0.456, 0.406]"),
    ),
    _of(
        "transform",
        "channels are blue, green, red",
        "preprocess-values",
        Edit(
            "pixels.py",
            "        resized = image.resize((24, 24), Resampling.BILINEAR)\n"
            "        pixels = np.asarray(resized, dtype=np.float32) / 255\n",
            "        resized = image.resize((24, 24), Resampling.BILINEAR)\n"
            "        pixels = np.asarray(resized, dtype=np.float32)[..., ::-1] / 255\n",
        ),
    ),
    _of(
        "transform",
        "mean and std are those of another network",
        "preprocess-values",
        Edit("pixels.py", "MEAN = (0.4, 0.45, 0.5)", "MEAN = (0.5, 0.5, 0.5)"),
    ),
    _of(
        "transform",
        "the resize filter is another one",
        "preprocess-values",
        Edit("pixels.py", "Resampling.BILINEAR", "Resampling.NEAREST"),
    ),
    _of("transform", "pixels are not divided by 255", "preprocess-values", Edit("pixels.py", " / 255\n", "\n")),
    _vision(
        "mean and std are on a scale of 255",
        "preprocess-scale",
        _registry(
            "mean: [0.48, 0.45, 0.4], std: [0.22, 0.23, 0.25]", "mean: [123.7, 116.3, 103.5], std: [58.4, 57.1, 57.4]"
        ),
    ),
    _of(
        "transform",
        "an image has another size than declared",
        "preprocess-shape",
        Edit("pixels.py", "(24, 24)", "(28, 24)"),
    ),
    _of(
        "transform",
        "narrow images fail",
        "preprocess-odd",
        Edit(
            "pixels.py",
            "        resized =",
            "        image = image.crop((2, 2, image.width - 2, image.height - 2))\n"
            "        assert image.width > 0 < image.height\n        resized =",
        ),
    ),
    _of(
        "transform",
        "narrow images have another size",
        "preprocess-odd",
        Edit("pixels.py", "image.resize((24, 24),", "image.resize((24, 24) if image.width > 3 else (3, 24),"),
    ),
    _of(
        "transform",
        "a random crop",
        "preprocess-repeat",
        Edit(
            "pixels.py",
            "        pixels = np.asarray",
            "        resized = resized.rotate(np.random.uniform(-20, 20))\n        pixels = np.asarray",
        ),
    ),
    _of(
        "transform",
        "the preprocessing cannot be pickled",
        "preprocess-pickle",
        _module("    return Pixels()", "    pixels = Pixels()\n    return lambda image: pixels(image)"),
    ),
    _of(
        "audio",
        "the sample rate is not that of the network",
        "preprocess-rate",
        _registry("sample_rate_hz: 8000", "sample_rate_hz: 16000"),
    ),
    _of(
        "text",
        "special tokens are added twice",
        "preprocess-special-tokens",
        Edit(
            "words.py",
            "return [3 + crc32(word.encode()) % 60 for word in text.split()]",
            "return [1, *(3 + crc32(word.encode()) % 60 for word in text.split()), 2]",
        ),
    ),
    _of(
        "text",
        "`cls_token: true` without such a token",
        "preprocess-cls-token",
        Edit("words.py", "prefix: tuple[int, ...] = (1,)", "prefix: tuple[int, ...] = ()"),
    ),
    _of(
        "text",
        "a hash with a salt",
        "preprocess-repeat",
        Edit("words.py", "crc32(word.encode()) % 60", "hash(word) % 60"),
    ),
    _of("text", "a token is not in the vocabulary", "preprocess-tokenizer", Edit("words.py", "% 60", "% 90")),
    _of(
        "text",
        "encode returns texts",
        "preprocess-tokenizer",
        Edit(
            "words.py", "return [3 + crc32(word.encode()) % 60 for word in text.split()]", "return list(text.split())"
        ),
    ),
]

WEIGHTS = [
    Mutant(
        "the weights are not in the wheel",
        "weights-available",
        "vision",
        finish=lambda package: (package / "weights.safetensors").unlink(),
    ),
    Mutant(
        "the wheel leaves the weights out",
        "weights-available",
        "vision",
        edits=(
            Edit(
                "pyproject.toml",
                "[project.entry-points",
                '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
                '[tool.hatch.build.targets.wheel]\npackages = ["src/acme_zoo"]\nexclude = ["*.safetensors"]\n\n'
                "[project.entry-points",
            ),
        ),
    ),
    Mutant("the weights are another file", "weights-hash", "vision", finish=lambda package: _other_file(package)),
    Mutant(
        "a tensor is missing",
        "weights-keys",
        "vision",
        weights=lambda tensors: _without(tensors, "blocks.1.down.weight"),
    ),
    Mutant(
        "a tensor has another shape",
        "weights-keys",
        "vision",
        weights=lambda tensors: tensors | {"norm.bias": torch.ones(25)},
    ),
    Mutant(
        "the checkpoint has a further block",
        "weights-keys",
        "vision",
        weights=lambda tensors: tensors | {"blocks.2.down.weight": torch.ones(24, 48)},
    ),
    Mutant(
        "missing keys get random values",
        "weights-initial",
        "vision",
        edits=(
            _module(
                "@hookimpl\ndef layerzoo_build",
                "@hookimpl\ndef layerzoo_state_dict(spec, tensors):\n    import torch\n\n    complete = dict(tensors)\n"
                '    complete.setdefault("blocks.1.down.weight", torch.randn(24, 48))\n    return complete\n\n\n'
                "@hookimpl\ndef layerzoo_build",
            ),
        ),
        weights=lambda tensors: _without(tensors, "blocks.1.down.weight"),
    ),
    Mutant(
        "a tensor of the checkpoint is noise",
        "weights-initial",
        "vision",
        weights=lambda tensors: tensors | {"blocks.1.down.weight": _noise(24, 48)},
    ),
    Mutant("the weights were never trained", "weights-initial", "vision", weights=lambda tensors: _initial(tensors)),
    Mutant(
        "a weight is NaN",
        "weights-finite",
        "vision",
        weights=lambda tensors: tensors | {"norm.bias": torch.full((24,), float("nan"))},
    ),
]

MUTANTS: list[Mutant] = [*STATIC, *SHAPE, *LAW, *PREPROCESS, *WEIGHTS]


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def _without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


def _initial(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor for name, tensor in initial_tensors(CORRECT / "vision", "vision", 11).items() if name in tensors
    }


def _without_digest(package: Path, source: str) -> None:
    registry = package / "registry.yaml"
    text = registry.read_text(encoding="utf-8")
    start, end = text.index("    weights: {"), text.index("    preprocess:")
    registry.write_text(f'{text[:start]}    weights: {{source: "{source}"}}\n{text[end:]}', encoding="utf-8")


def _pickled(package: Path) -> None:
    torch.save(load_file(package / "weights.safetensors"), package / "weights.pth")
    registry = package / "registry.yaml"
    text = registry.read_text(encoding="utf-8")
    registry.write_text(text.replace("weights.safetensors", "weights.pth"), encoding="utf-8")


def _other_file(package: Path) -> None:
    tensors = load_file(package / "weights.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, package / "weights.safetensors")


def _stale(package: Path) -> None:
    """Trace the plugin, and change its network without a trace in the size and time of the file."""
    from layerzoo.conformance.target import opened
    from layerzoo.runtime import trace_layers

    path = package / "network.py"
    registry = package / "registry.yaml"
    registry.write_text(
        registry.read_text(encoding="utf-8").replace("axes: batch channel, shape: [5]", "axes: batch channel"),
        encoding="utf-8",
    )
    state = path.stat()
    with opened(str(package.parents[1])) as target:
        trace_layers(target.models[0].spec)
    path.write_text(
        path.read_text(encoding="utf-8").replace("nn.Linear(width, 5)", "nn.Linear(width, 7)"), encoding="utf-8"
    )
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
