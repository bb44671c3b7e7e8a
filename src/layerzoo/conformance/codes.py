"""The checks of plugins: what each one checks, why it matters, and how to correct it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Tier = Literal["static", "shape", "law", "preprocess", "weights"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""The tiers, the cheapest first."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check, with the explanation that `zoo explain CODE` prints."""

    code: str
    """Its name, which begins with its tier. Codes are stable: programs may rely on them."""
    title: str
    """The checked property, in one line."""
    why: str
    """The consequence where it does not hold."""
    fix: str
    """How to correct it."""

    @property
    def tier(self) -> Tier:
        """The tier that the check belongs to."""
        return next(tier for tier in TIERS if self.code.startswith(f"{tier}-"))


_ALL = (
    Check(
        "static-entry-point",
        "The entry point names a package with a registry.yaml, and its namespace is free.",
        "A plugin that cannot be found has no models. Of two plugins with one namespace, neither is used.",
        'Write [project.entry-points.layerzoo] NAMESPACE = "PACKAGE", and put registry.yaml into that package. The '
        "name is lower-case, and neither `toy` nor `mine`.",
    ),
    Check(
        "static-schema",
        "registry.yaml and its catalogue are valid.",
        "An invalid model is not listed; an unknown key has no effect.",
        "Correct the line. `zoo registry check FILE` marks the characters, `zoo registry schema` helps an editor.",
    ),
    Check(
        "static-duplicate",
        "No model, layer or alias is declared twice.",
        "If a model is declared twice, neither declaration is used.",
        "Rename or remove one of the two.",
    ),
    Check(
        "static-builder",
        "Every builder of a model is offered by an installed plugin, and every builder of this plugin has a hook.",
        "A model without a builder is listed, but cannot be loaded.",
        "Write `builders: [NAME]` at the top of registry.yaml, and implement layerzoo_build; or correct `builder:`.",
    ),
    Check(
        "static-import",
        "The package can be imported, and its requirements are installed.",
        "A plugin that cannot be imported builds no network.",
        "Correct the line, or add the missing library to the dependencies in pyproject.toml.",
    ),
    Check(
        "static-hook",
        "Every hook has a known name and known arguments.",
        "A misspelt hook is never called: the model then has no network, or the default preprocessing.",
        "Rename it. docs/plugins/hooks.md lists the hooks and their arguments.",
    ),
    Check(
        "static-hookimpl",
        "Every function called layerzoo_… is marked with @hookimpl.",
        "Without the mark, the function is never called.",
        "Write @hookimpl above it, with `from layerzoo import hookimpl`.",
    ),
    Check(
        "static-heavy-import",
        "The module with the hooks imports no large library at its top.",
        "Such an import takes seconds, and happens each time the plugin is checked, even if no network is built.",
        "Import the library inside the hook, or put the network into a module that the hook imports.",
    ),
    Check(
        "static-network",
        "Neither the import of the plugin nor its hooks open a connection.",
        "Browsing has to work offline, and layerzoo alone downloads, so that each file is verified and pinned.",
        "Declare files under `weights:`; hooks receive them as `files`.",
    ),
    Check(
        "static-pin",
        "Weights on the hub name a commit.",
        "A branch or a tag can change, and the features of everyone change with it.",
        "Write the commit: hf://ORG/REPO@COMMIT/FILE, with its 40 hexadecimal digits.",
    ),
    Check(
        "static-sha256",
        "Weights in a file, at a link or in a package have a sha256.",
        "Without a digest, a damaged file, or another one in its place, is not noticed.",
        "Write `sha256: DIGEST` below `source:`. `sha256sum FILE` prints it.",
    ),
    Check(
        "static-license",
        "A model with weights has a license.",
        "Without a license, most people may not use the weights.",
        "Write `license:` with an SPDX identifier, such as apache-2.0 or mit.",
    ),
    Check(
        "static-safetensors",
        "The checkpoint is a safetensors file.",
        "A pickle can hold code, has to be read as a whole, and is converted on every machine.",
        "Save it with safetensors.torch.save_file(network.state_dict(), FILE). Where you cannot change the file, "
        "declare an expected failure with the reason.",
    ),
    Check(
        "shape-build",
        "The hook layerzoo_build returns a network that runs on an example input, and the same one every time.",
        "A model whose network does not run gives no features.",
        "Correct the line. The network has to accept a batch, by position or by the names of its inputs.",
    ),
    Check(
        "shape-layers",
        "Every declared layer runs, once or with the number of a call, and returns one tensor.",
        "A layer that never runs cannot be read; of several calls or outputs, the wrong one may be.",
        "Correct `module:`, or add `call:` or `output:`. `zoo layers --all MODEL` lists the modules that run.",
    ),
    Check(
        "shape-axes",
        "The declared axes of every layer are those that inputs of other sizes show.",
        "Pooling over the wrong axis gives a vector of the right form with wrong values.",
        "Correct `axes:`, or remove it: a trace finds the axes.",
    ),
    Check(
        "shape-width",
        "The declared shape of every layer is that of its activation.",
        "The size of the features is other than announced.",
        "Correct `shape:`, or remove it: a trace finds it.",
    ),
    Check(
        "shape-prefix-tokens",
        "The declared prefix and suffix tokens of every layer are those of the network.",
        "Class and register tokens are pooled with the tokens of the input, or `cls` reads another token.",
        "Correct `prefix_tokens:` and `suffix_tokens:`, or remove them: a trace counts them.",
    ),
    Check(
        "shape-frames",
        "The declared length and hop of audio frames fit the network.",
        "Padding is pooled, or valid frames are omitted; times of frames are wrong.",
        "Correct `frame_hop_samples:`, or remove it: only clips of one length then share a batch.",
    ),
    Check(
        "shape-costs",
        "Declared parameters, FLOPs and depths are those of the network.",
        "`zoo list` sorts by them, and `@0.5` cuts at another place.",
        "Copy what `zoo layers --trace --declare MODEL` prints.",
    ),
    Check(
        "shape-default",
        "The default layer and pooling exist, and fit each other.",
        "`zoo extract MODEL INPUT` fails for everyone who names no layer.",
        "Correct `default:`.",
    ),
    Check(
        "shape-stale",
        "The stored trace, or the layers in the catalogue, are those of the present network.",
        "`zoo layers` shows the shapes of an earlier version of the code.",
        "Run `zoo layers --trace MODEL`; for a catalogue, `zoo catalogue build PLUGIN`.",
    ),
    Check(
        "law-cut",
        "A network that is cut at a layer gives the activation of the whole network, bit for bit.",
        "Features would depend on how many other layers are requested.",
        "The network takes another path if it is cut. Remove state that one forward pass leaves for the next, and code "
        "that catches every exception.",
    ),
    Check(
        "law-many",
        "Many layers in one pass are equal to each layer alone, bit for bit.",
        "Features of `--layer a,b` would differ from those of `--layer a`.",
        "As for law-cut.",
    ),
    Check(
        "law-stop",
        "The forward pass ends at the layer: no module runs after it.",
        "A cut that runs too far costs time, and fails where later weights are not loaded.",
        "Do not catch BaseException around modules (`except:`). Let the layer name the module that computes it.",
    ),
    Check(
        "law-dropped",
        "Modules after the cut are not loaded, and raise if they are called.",
        "Otherwise a network silently computes with weights that were never loaded.",
        "Call modules as modules: do not keep them in lists or closures outside of the network.",
    ),
    Check(
        "law-batch",
        "The features of a sample do not depend on the other samples of its batch.",
        "The same image gives other features in another folder.",
        "Use statistics of training (eval mode), not those of the batch. Do not compute over the axis of the batch.",
    ),
    Check(
        "law-padding",
        "Padding does not change the features of a sample.",
        "A short text gives other features next to a long one.",
        "Pass the attention mask on to every attention and every mean, and select the last token by the mask. Or "
        "declare `batching: equal_lengths`; for audio, omit `frame_hop_samples:`.",
    ),
    Check(
        "law-order",
        "The order of the inputs does not matter.",
        "Features of a file depend on its name.",
        "Remove state that one forward pass leaves for the next.",
    ),
    Check(
        "law-determinism",
        "Two passes over one input are equal, bit for bit.",
        "Features cannot be reproduced.",
        "Use nn.Dropout, or F.dropout(x, training=self.training), and draw no random numbers in forward.",
    ),
    Check(
        "law-eval",
        "Every module stays in eval mode, also while it runs.",
        "Dropout and batch norms of training change features.",
        "Do not call train(), and do not override it so that eval() has no effect.",
    ),
    Check(
        "law-hooks",
        "Neither building nor running leaves a hook.",
        "Hooks pile up, keep tensors in memory, and change the features of other models.",
        "Remove each handle in a `finally:` block, and register no global hooks.",
    ),
    Check(
        "law-inplace",
        "Nothing overwrites the input, or the activation of a layer, in place.",
        "The next module then receives other values than those read at the layer, or a batch cannot be used twice.",
        "Write `x = x + y` instead of `x += y`, return new tensors instead of a buffer, or declare the module that "
        "does it as the layer.",
    ),
    Check(
        "law-dtype",
        "A network that is loaded in float32 returns float32.",
        "float64 doubles the time and memory; a lower precision loses digits.",
        "Create constants with the dtype of the input: torch.tensor(…, dtype=x.dtype). numpy's numbers are float64.",
    ),
    Check(
        "law-finite",
        "Activations are finite.",
        "NaN and infinity make every pooled vector useless.",
        "Look for a division by zero, a logarithm of zero, and a mask that excludes every position.",
    ),
    Check(
        "law-precision",
        "The network runs in bfloat16, with features near those of float32.",
        "`--precision auto` uses bfloat16 where the device has it.",
        "Create tensors with the dtype of their operands, and compute sums of many terms in float32.",
    ),
    Check(
        "preprocess-odd",
        "Unusual inputs give an array of the declared size, or a SampleError.",
        "One odd file among a million stops a run.",
        "Accept the input, or raise layerzoo.errors.SampleError with the reason.",
    ),
    Check(
        "preprocess-shape",
        "The preprocessing gives float32 arrays of the declared size.",
        "The network receives another size than the one that its layers are described for.",
        "Correct `size_px:`, or what the hook layerzoo_preprocess returns.",
    ),
    Check(
        "preprocess-values",
        "The declared values are those that the hook layerzoo_preprocess applies.",
        "Readers of the declaration reproduce other features, and so do exports.",
        "Correct the declaration or the hook; without the hook, the declared values are applied. Images are RGB.",
    ),
    Check(
        "preprocess-scale",
        "mean and std are on a scale of 0 to 1.",
        "Values on a scale of 0 to 255 make every image nearly uniform for the network.",
        "Divide by 255.",
    ),
    Check(
        "preprocess-library",
        "The declared preprocessing is that of the model's library.",
        "Another size, filter, mean or rate than in training gives worse features.",
        "Remove the declared values, so that the library's apply; or declare an expected failure with the reason.",
    ),
    Check(
        "preprocess-rate",
        "The declared sample rate is that of the network and of its feature extractor.",
        "Speech at half the rate sounds like another speaker, to a network too.",
        "Correct `sample_rate_hz:`.",
    ),
    Check(
        "preprocess-refuses",
        "Audio of a wrong number of channels, and an impossible sample rate, are refused.",
        "Wrong input gives features without a warning.",
        "Declare `channels:`; do not reshape in the hook.",
    ),
    Check(
        "preprocess-tokenizer",
        "The tokenizer has the members of layerzoo.authoring.Tokenizer, and gives valid token ids.",
        "A missing member fails at the first text; an id outside of the vocabulary fails in the network.",
        "Implement arguments, prefix, suffix, pad and encode.",
    ),
    Check(
        "preprocess-special-tokens",
        "encode() adds no special tokens: prefix and suffix are added once.",
        "With two [CLS] tokens, every position is shifted.",
        "Encode without special tokens: encode(text, add_special_tokens=False).",
    ),
    Check(
        "preprocess-cls-token",
        "With `cls_token: true`, the tokenizer puts a classification token before every text.",
        "The pooling `cls` reads the first word instead.",
        "Remove `cls_token: true`, or add the token to the tokenizer's `prefix`.",
    ),
    Check(
        "preprocess-repeat",
        "The preprocessing gives the same result twice, and in another process.",
        "Features differ from run to run, or from worker to worker.",
        "Do not use hash() of texts, which differs between processes, and draw no random numbers.",
    ),
    Check(
        "preprocess-pickle",
        "The preprocessing can be pickled.",
        "Workers in other processes receive a copy of it.",
        "Return an object of a class at the top of a module, instead of a lambda or a function inside a function.",
    ),
    Check(
        "weights-available",
        "The checkpoint exists: in the wheel, in the folder, or in the named package.",
        "The model is listed, and cannot be loaded.",
        "Include the file in the wheel, or add its package to the dependencies.",
    ),
    Check(
        "weights-hash",
        "The checkpoint has the declared sha256.",
        "layerzoo refuses another file.",
        "Declare the digest of the published file.",
    ),
    Check(
        "weights-keys",
        "The checkpoint has every tensor of the network with its shape, and no other.",
        "A missing tensor cannot be loaded; an unused one shows that the network is another.",
        "Map the keys with `weights: {keys: …}` or the hook layerzoo_state_dict; correct the builder's `args:`.",
    ),
    Check(
        "weights-initial",
        "No tensor still has the random values of its initialisation.",
        "Random weights give features that look right and mean nothing.",
        "Do not fill missing keys with random tensors: let a missing key be an error.",
    ),
    Check(
        "weights-finite",
        "All weights are finite.",
        "One NaN makes every feature NaN.",
        "Publish a checkpoint from before the training failed.",
    ),
)
CHECKS: dict[str, Check] = {check.code: check for check in _ALL}
"""Every check by its code, the cheapest tier first."""


def codes_of(tier: Tier) -> list[str]:
    """Return the codes of one tier, in the order in which they run."""
    return [code for code, check in CHECKS.items() if check.tier == tier]
