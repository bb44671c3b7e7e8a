"""The tier `weights`: the published checkpoint is the declared one, is complete, and was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from layerzoo.conformance.packaging import is_left_out
from layerzoo.conformance.report import Finding
from layerzoo.conformance.static import finding
from layerzoo.conformance.subject import ModelSubject, Skip, reason_of
from layerzoo.errors import DigestError, LayerzooError
from layerzoo.runtime.checkpoint import Checkpoint, open_checkpoint, open_content
from layerzoo.runtime.construct import build_random
from layerzoo.runtime.initialisation import seeded
from layerzoo.runtime.loading_logic import has_loading_logic
from layerzoo.runtime.trace import checkpointed_tensors, saved_tensors
from layerzoo.weights import Files, resolve

_LOCAL = ("package:", "file:")
_MOST_NUMBERS = 500_000_000
_FEW = 256
"""Numbers below which a tensor does not show a distribution."""
_MANY = 1_000
"""Numbers from which a trained matrix differs from torch.randn. Biases of 384 numbers in Whisper do not."""
_ALIKE = 1.63
"""The critical value of the two-sample Kolmogorov-Smirnov test at the level 0.01 (Smirnov, 1948)."""
_LISTED = 3
_OWN_FILE = "Write the checkpoint to this file, or correct `source:` of `weights:`."


def available(subject: ModelSubject) -> Iterator[Finding]:
    """Find the files of the checkpoint."""
    try:
        _files(subject)
    except DigestError:
        return
    except LayerzooError as error:
        yield finding(subject, "weights-available", reason_of(error), fix=_OWN_FILE if _is_own(subject) else None)
        return
    manifest, folder = subject.owner.manifest, subject.owner.folder
    if folder is None:
        return
    inside = [path for path in _files(subject).paths.values() if path.is_relative_to(folder)]
    left_out = [path for path in inside if is_left_out(manifest, path)]
    if left_out:
        listed = _some([str(path.relative_to(folder)) for path in left_out])
        yield finding(subject, "weights-available", f"the wheel of {manifest.project} does not include {listed}")


def _is_own(subject: ModelSubject) -> bool:
    """Return whether the checkpoint is a file, or is in the package of the plugin."""
    weights, distribution = subject.spec.weights, subject.owner.manifest.distribution
    return weights is not None and weights.source.startswith(("file:", f"package://{distribution}/"))


def digests(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the sha256 of the files."""
    try:
        files = _files(subject)
    except DigestError as error:
        yield finding(subject, "weights-hash", reason_of(error))
        return
    except LayerzooError as error:
        raise Skip("the checkpoint is not available: weights-available") from error
    if not files.verified:
        raise Skip("no sha256 is declared")


def keys(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the keys and shapes of the checkpoint with the tensors of the network."""
    checkpoint, network = _checkpoint(subject)
    own = saved_tensors(network)
    reads = subject.tracer.trace.reads
    if not has_loading_logic(network):
        groups: dict[int, list[str]] = {}
        for name, tensor in checkpointed_tensors(network).items():
            groups.setdefault(id(tensor), []).append(name)
        required = [group for group in groups.values() if any(name in reads for name in group)]
        missing = [group[0] for group in required if not any(name in checkpoint.shapes for name in group)]
        if missing:
            yield finding(subject, "weights-keys", f"the checkpoint has no {_some(missing)}")
        for name in (name for group in required for name in group if name in checkpoint.shapes):
            if checkpoint.shapes[name] != (expected := tuple(own[name].shape)):
                cause = f"{name} is {checkpoint.shapes[name]} in the checkpoint and {expected} in the network"
                yield finding(subject, "weights-keys", cause)
    if unexpected := _unexpected(subject, checkpoint, network):
        yield finding(subject, "weights-keys", f"the network has no {_some(unexpected)}, and the checkpoint has")


def _unexpected(subject: ModelSubject, checkpoint: Checkpoint, network: nn.Module) -> list[str]:
    """Return the keys that the network does not have.

    Published checkpoints of a library have heads that a backbone is built without. Of a network that another plugin
    builds, only keys within its modules count, such as those of a further block.
    """
    expected = {*saved_tensors(network), *dict(network.named_buffers()), *checkpoint.objects}
    unexpected = [
        name for name in checkpoint.shapes if name not in expected and not name.endswith("num_batches_tracked")
    ]
    builder = subject.owner.zoo.builder_plugin(subject.spec.builder)
    if builder.namespace == subject.plugin and not has_loading_logic(network):
        return unexpected
    children = {path for path, module in network.named_children() if any(True for _ in module.children())}
    parents = {path for path, module in network.named_modules() if path}
    return [
        name
        for name in unexpected
        if name.partition(".")[0] in children and name.rpartition(".")[0] not in parents and ".position_ids" not in name
    ]


def initial(subject: ModelSubject) -> Iterator[Finding]:
    """Find parameters with random values, and a checkpoint that was not trained."""
    checkpoint, network = _checkpoint(subject)
    parameters = [name for name, _ in network.named_parameters() if name in checkpoint.shapes]
    if sum(network.get_parameter(name).numel() for name in parameters) > _MOST_NUMBERS:
        raise Skip(f"the checkpoint has more than {_MOST_NUMBERS:,} numbers")
    if random := _invented(subject, checkpoint, parameters):
        yield finding(
            subject,
            "weights-initial",
            f"{_some(random)} are not from the checkpoint: their values are made up by the plugin",
        )
        return
    with seeded(0):
        stored = checkpoint.read(parameters)
    if subject.spec.weights is None and not stored:
        raise Skip("it has no weights")
    fresh = dict(build_random(subject.tracer.spec, subject.located.hooks, subject.located.files, 17).named_parameters())
    large = [name for name in parameters if stored[name].numel() >= _FEW and stored[name].is_floating_point()]
    untrained = [name for name in large if _is_initial(stored[name], fresh[name])]
    matrices = [name for name in large if stored[name].ndim > 1 and stored[name].numel() >= _MANY]
    noise = [name for name in matrices if _is_noise(stored[name]) and not _is_noise(fresh[name])]
    if noise:
        yield finding(subject, "weights-initial", f"{_some(noise)} are distributed as torch.randn gives them")
    if large and len(untrained) == len(large):
        cause = f"all {len(large)} large tensors are distributed as those of an untrained network: {_some(untrained)}"
        yield finding(subject, "weights-initial", cause)


def _invented(subject: ModelSubject, checkpoint: Checkpoint, parameters: list[str]) -> list[str]:
    """Return the parameters whose values do not come from the checkpoint, or differ from load to load.

    The mapping of keys is applied to a checkpoint of zeros, with two seeds. A parameter that then has several
    values is not from the checkpoint.
    """
    meta = checkpoint.stored.meta()
    zeros = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in meta.items()}
    invented: set[str] = set()
    mapped: list[Mapping[str, Tensor]] = []
    for seed in (0, 1):
        with seeded(seed):
            try:
                mapped.append(checkpoint.mapper(zeros))
            except Exception:  # noqa: BLE001 - code that is not ours, on values that are not the real ones
                return []
    for name in parameters:
        first, second = (tensors.get(name) for tensors in mapped)
        if first is None or second is None or not first.is_floating_point():
            continue
        has_values = first.numel() > 1 and float(first.max()) != float(first.min())
        if has_values or not torch.equal(first, second):
            invented.add(name)
    files = _files(subject)
    spec, hooks = subject.tracer.spec, subject.located.hooks
    reads = []
    for seed in (0, 1):
        with seeded(seed):
            reads.append(hooks.read_weights(spec, files))
    if reads[0] is not None and reads[1] is not None:
        invented |= {name for name, tensor in reads[0].items() if not torch.equal(tensor, reads[1][name])}
    return sorted(invented)


def _is_initial(stored: Tensor, fresh: Tensor) -> bool:
    """Return whether two tensors may come from one distribution, by the Kolmogorov-Smirnov test."""
    stored_values, fresh_values = (
        np.sort(tensor.detach().float().flatten().numpy()[:100_000]) for tensor in (stored, fresh)
    )
    if stored_values[0] == stored_values[-1] or fresh_values[0] == fresh_values[-1]:
        return bool(
            stored_values[0] == stored_values[-1]
            and fresh_values[0] == fresh_values[-1]
            and stored_values[0] == fresh_values[0]
        )
    all_values = np.concatenate([stored_values, fresh_values])
    gaps = np.searchsorted(stored_values, all_values, side="right") / len(stored_values) - np.searchsorted(
        fresh_values, all_values, side="right"
    ) / len(fresh_values)
    return bool(np.abs(gaps).max() <= _ALIKE * np.sqrt(1 / len(stored_values) + 1 / len(fresh_values)))


def _is_noise(tensor: Tensor) -> bool:
    """Return whether a tensor may be one of torch.randn, by the Kolmogorov-Smirnov test."""
    values = torch.sort(tensor.detach().double().flatten()[:100_000]).values
    expected = torch.special.ndtr(values)
    steps = torch.arange(1, len(values) + 1, dtype=torch.float64) / len(values)
    return bool((expected - steps).abs().max() <= _ALIKE / len(values) ** 0.5)


def finite(subject: ModelSubject) -> Iterator[Finding]:
    """Find NaN and infinity in the weights."""
    checkpoint, network = _checkpoint(subject)
    names = [name for name in saved_tensors(network) if name in checkpoint.shapes]
    if sum(int(np.prod(checkpoint.shapes[name])) for name in names) > _MOST_NUMBERS:
        raise Skip(f"the checkpoint has more than {_MOST_NUMBERS:,} numbers")
    wrong = [
        name
        for name, tensor in checkpoint.read(names).items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if wrong:
        yield finding(subject, "weights-finite", f"{_some(wrong)} have values that are NaN or infinite")


# ---------------------------------------------------------------- files


def _files(subject: ModelSubject) -> Files:
    """Return the files of the checkpoint. Raises: Skip where they are on a server; LayerzooError."""
    weights = subject.spec.weights
    if weights is None:
        raise Skip("it declares no weights")
    if "weights" not in subject.cached:
        try:
            subject.cached["weights"] = resolve(weights, model=subject.spec.id)
        except LayerzooError as error:
            subject.cached["weights"] = error
    files = subject.cached["weights"]
    if isinstance(files, Files):
        return files
    is_local = weights.source.startswith(_LOCAL)
    if not (is_local or subject.downloads or isinstance(files, DigestError)):
        raise Skip("its checkpoint is not on this machine. To check it: --download, or first zoo pull")
    raise files


def _checkpoint(subject: ModelSubject) -> tuple[Checkpoint, nn.Module]:
    """Return the checkpoint by the names of the network, and the network. Raises: Skip where it is not available."""
    if "checkpoint" not in subject.cached:
        try:
            files = _files(subject)
        except LayerzooError as error:
            raise Skip("the checkpoint is not available: weights-available, weights-hash") from error
        spec, hooks = subject.tracer.spec, subject.located.hooks
        network = subject.network
        content = open_content(spec, files, hooks)
        checkpoint = open_checkpoint(
            spec, files, hooks, content, own=saved_tensors(network), renames=has_loading_logic(network),
            needed=[[name] for name in checkpointed_tensors(network)],
        )  # fmt: skip
        subject.cached["checkpoint"] = (checkpoint, network)
    cached: tuple[Checkpoint, nn.Module] = subject.cached["checkpoint"]
    return cached


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


MODEL_CHECKS: dict[str, Callable[[ModelSubject], Iterator[Finding]]] = {
    "weights-available": available,
    "weights-hash": digests,
    "weights-keys": keys,
    "weights-initial": initial,
    "weights-finite": finite,
}
