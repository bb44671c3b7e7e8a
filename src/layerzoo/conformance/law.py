"""The tier `law`: features depend on the sample and the layer alone. Networks have random weights.

Laws compare raw activations, not pooled vectors, so that no difference is averaged away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

from layerzoo.conformance.report import Finding
from layerzoo.conformance.static import finding
from layerzoo.conformance.subject import ModelSubject, Skip, reason_of
from layerzoo.errors import CutError, LayerzooError
from layerzoo.runtime.batch import Batch, InputRow
from layerzoo.runtime.construct import build_random
from layerzoo.runtime.cut import find_call
from layerzoo.runtime.network import Stub
from layerzoo.runtime.trace import pick
from layerzoo.runtime.variation import seeded
from layerzoo.spec import TOLERANCE, Layer

_ROUNDING = 3 * TOLERANCE
"""Of an activation's length, the largest difference between a row alone and the row in a batch of another size, which
other kernels compute."""
_SAME_KERNELS = 1e-6
"""The same for batches of one size, which the same kernels compute."""
_BFLOAT16 = 0.3
"""The largest difference between bfloat16, with 8 bits of precision, and float32. Random networks of many layers give
0.01 to 0.1."""
_WORDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
_GLOBAL = tuple(
    f"_global_{name}_hooks"
    for name in (
        "forward", "forward_pre", "backward", "backward_pre", "module_registration", "parameter_registration",
        "buffer_registration",
    )
)  # fmt: skip


def cut(subject: ModelSubject) -> Iterator[Finding]:
    """Compare the network that is cut at each layer with the whole network."""
    expected = _hooked(subject)
    for name, activation in subject.alone.items():
        if name not in expected:
            yield finding(subject, "law-cut", f"layer {name} does not run in the whole network")
        elif (difference := _difference(activation, expected[name])) > 0:
            cause = f"layer {name} of the network that is cut there differs from the whole network by {difference:.2g}"
            yield finding(subject, "law-cut", cause)


def many(subject: ModelSubject) -> Iterator[Finding]:
    """Compare all layers in one pass with each layer alone."""
    for name, activation in subject.alone.items():
        if (difference := _difference(subject.reference[name], activation)) > 0:
            cause = f"layer {name} in one pass with all others differs from the layer alone by {difference:.2g}"
            yield finding(subject, "law-many", cause)


def stop(subject: ModelSubject) -> Iterator[Finding]:
    """Find modules that run after the layer at which the network is cut."""
    for layer in _few(subject):
        backbone = subject.cut([layer])
        network = backbone.module.network
        late = _late_modules(network, layer, partial(subject.activations, backbone, subject.batch))
        if late:
            listed = ", ".join(late[:4]) + (", …" if len(late) > 4 else "")
            yield finding(subject, "law-stop", f"the network is cut at {layer.name}, and {listed} ran after it")


def dropped(subject: ModelSubject) -> Iterator[Finding]:
    """Call the modules after the cut."""
    first = subject.layers[0]
    network = subject.cut([first]).module
    stubs = [module for module in network.modules() if isinstance(module, Stub)]
    for stub in stubs:
        with contextlib.suppress(CutError):
            stub(torch.zeros(1))
            yield finding(subject, "law-dropped", f"{stub.path} is after the cut, and runs without an error")
    if not stubs and _has_own_weights_after(subject, first):
        count = sum(tensor.numel() for tensor in network.parameters())
        if count >= sum(tensor.numel() for tensor in subject.network.parameters()):
            cause = (
                f"cut at {first.name}, the network needs all its {count:,} parameters: they are read before that layer"
            )
            yield finding(subject, "law-dropped", cause)


def _has_own_weights_after(subject: ModelSubject, layer: Layer) -> bool:
    """Return whether some parameters are used only after a layer."""
    trace = subject.tracer.trace
    ready = find_call(trace, layer, model=subject.spec.id).end
    used_before = {call.module for call in trace.calls if call.start < ready}
    used_after = {call.module for call in trace.calls} - used_before
    return any(name.startswith(f"{path}.") for name in trace.parameters for path in used_after if path)


def batch(subject: ModelSubject) -> Iterator[Finding]:
    """Compare a row among others with the row among copies of itself: batches of one size."""
    bucket_rows = [
        row for row in subject.rows if subject.preprocess.bucket(row) == subject.preprocess.bucket(subject.row)
    ]
    other_row = next((row for row in bucket_rows[1:] if not _equal(row, subject.row)), None) or _changed(subject.row)
    if other_row is None:
        raise Skip("all its inputs are integers that cannot be changed here")
    row = subject.row
    alike = _values(subject, [row, row, row])
    mixed = _values(subject, [row, other_row, row])
    for name, values in mixed.items():
        worst = max(_distance(values[at], alike[name][at]) for at in (0, 2))
        if worst > _SAME_KERNELS:
            yield finding(
                subject, "law-batch", f"layer {name} of one sample changes by {worst:.2g} with the others of its batch"
            )


def padding(subject: ModelSubject) -> Iterator[Finding]:
    """Compare a short row next to a long one with the short row alone, where such rows may share a batch."""
    preprocess = subject.preprocess
    if not preprocess.variable_length:
        raise Skip("its inputs have one size")
    rows = sorted(subject.rows, key=lambda row: row.total)
    short, long = rows[0], rows[-1]
    if short.total == long.total and short.valid == long.valid:
        raise Skip("no row is padded: all have one length")
    if preprocess.bucket(short) != preprocess.bucket(long) and not preprocess._may_pad([short, long]):
        raise Skip("only rows of one length share a batch, so that none is padded")
    alone, together = _values(subject, [short]), _values(subject, [short, long])
    for name, values in together.items():
        difference = _distance(values[0], alone[name][0])
        if difference > _ROUNDING:
            yield finding(
                subject,
                "law-padding",
                f"layer {name} of an input of {short.valid} positions, padded to {long.total}, changes by "
                f"{difference:.2g} of its length (at most {_ROUNDING:.0e})",
            )


def order(subject: ModelSubject) -> Iterator[Finding]:
    """Run one input before and after another one."""
    other_row = next((row for row in subject.rows if not _equal(row, subject.row)), None) or _changed(subject.row)
    if other_row is None:
        raise Skip("all its inputs are equal")
    first_values, _, last_values = (_values(subject, [row]) for row in (subject.row, other_row, subject.row))
    for name, values in first_values.items():
        if (difference := _distance(last_values[name][0], values[0])) > _SAME_KERNELS:
            yield finding(
                subject, "law-order", f"layer {name} of an input changes by {difference:.2g} after another one"
            )


def determinism(subject: ModelSubject) -> Iterator[Finding]:
    """Run one input twice, with other random numbers, and in a network that was built again."""
    passes = []
    for seed in (0, 1):
        with seeded(subject.backbone.device, seed=seed):
            passes.append(_forward(subject.backbone.module, subject.batch))
    drawn = subject.backbone.variation.random
    for name, activation in passes[0].items():
        if (difference := _difference(activation, passes[1][name])) > 0:
            by = (
                f": {', '.join(path or 'the network' for path in drawn[name])} draws random numbers"
                if drawn.get(name)
                else ""
            )
            yield finding(subject, "law-determinism", f"layer {name} changes by {difference:.2g} from pass to pass{by}")
            return
    rebuilt = _forward(subject.cut(subject.layers).module, subject.batch)
    for name, activation in passes[1].items():
        if (difference := _difference(activation, rebuilt[name])) > 0:
            yield finding(
                subject,
                "law-determinism",
                f"layer {name} changes by {difference:.2g} in a network that is built again with the same seed",
            )
            return


def eval_mode(subject: ModelSubject) -> Iterator[Finding]:
    """Find modules in training mode, before and while they run."""
    located = subject.located
    network = build_random(subject.tracer.spec, located.hooks, located.files, 0)
    training = {path for path, module in network.named_modules() if module.training}
    handles = []
    for path, module in network.named_modules():

        def note(module: nn.Module, arguments: Any, path: str = path) -> None:
            if module.training:
                training.add(path)

        handles.append(module.register_forward_pre_hook(note))
    try:
        _plain_network(network, subject.batch)
    finally:
        for handle in handles:
            handle.remove()
    if training:
        listed = ", ".join(sorted(path or "the network itself" for path in training)[:4])
        yield finding(subject, "law-eval", f"in training mode: {listed}")


def hooks(subject: ModelSubject) -> Iterator[Finding]:
    """Count hooks before and after the network is built and run."""
    located = subject.located
    global_hooks = _global_hooks()
    network = build_random(subject.tracer.spec, located.hooks, located.files, 0)
    if _global_hooks() != global_hooks:
        yield finding(subject, "law-hooks", "building the network registers a global hook, which runs in every network")
    built, own = _global_hooks(), _hooks_of(network)
    _plain_network(network, subject.batch)
    if _global_hooks() > built:
        yield finding(subject, "law-hooks", "running the network leaves a global hook")
    hooked = [path for path, count in _hooks_of(network).items() if count > own.get(path, 0)]
    if hooked:
        listed = ", ".join(path or "the network itself" for path in hooked[:4])
        yield finding(subject, "law-hooks", f"a forward pass leaves a hook at {listed}")
    backbone = subject.backbone
    own = _hooks_of(backbone.module)
    subject.activations(backbone, subject.batch)
    if hooked := [path for path, count in _hooks_of(backbone.module).items() if count > own.get(path, 0)]:
        yield finding(subject, "law-hooks", f"a pass up to the cut leaves a hook at {', '.join(hooked[:4])}")


def inplace(subject: ModelSubject) -> Iterator[Finding]:
    """Find overwritten tensors: inputs, returned activations, and layers that code outside of any module changes."""
    batch, backbone = subject.batch, subject.backbone
    input_copies = {name: tensor.clone() for name, tensor in batch.inputs.items()}
    _plain_network(subject.network, batch)
    for name, tensor in batch.inputs.items():
        if not torch.equal(tensor, input_copies[name]):
            batch.inputs[name].copy_(input_copies[name])
            yield finding(subject, "law-inplace", f"a forward pass overwrites its input {name}")
    activations = subject.activations(backbone, batch)
    copies = {name: activation.clone() for name, activation in activations.items()}
    other_row = next((row for row in subject.rows if not _equal(row, subject.row)), None) or _changed(subject.row)
    if other_row is not None:
        subject.activations(backbone, subject.preprocess.collate([other_row]))
    for name, activation in activations.items():
        if not _equal_tensors(activation, copies[name]):
            yield finding(subject, "law-inplace", f"the next forward pass overwrites the activation of layer {name}")
    yield from _overwritten_layers(subject)


def _overwritten_layers(subject: ModelSubject) -> Iterator[Finding]:
    """Find layers that code outside of a module without children overwrites in place.

    An activation module that works in place, such as nn.ReLU(inplace=True), is a separate layer, and no finding.
    """
    declared = {layer.name for layer in subject.spec.layers if not subject.spec.traced_with}
    layers = [layer for layer in subject.layers if layer.name in declared and layer.at == "output"]
    network = subject.network
    versions: dict[str, tuple[Tensor, int]] = {}
    calls: dict[str, int] = {}
    culprits: dict[str, str] = {}
    handles = []

    def settle(path: str, *, is_leaf: bool) -> None:
        """Compare versions: torch counts the in-place operations on each tensor."""
        for name, (tensor, version) in list(versions.items()):
            if tensor._version != version:
                if not is_leaf:
                    culprits.setdefault(name, path)
                versions[name] = (tensor, tensor._version)

    for path, module in network.named_modules():

        def enter(module: nn.Module, arguments: Any, path: str = path) -> None:
            settle(path, is_leaf=False)

        def leave(module: nn.Module, arguments: Any, output: Any, path: str = path) -> None:
            settle(path, is_leaf=not any(True for _ in module.children()))

        handles += [module.register_forward_pre_hook(enter, prepend=True), module.register_forward_hook(leave)]
    for layer in layers:

        def keep(module: nn.Module, arguments: Any, output: Any, layer: Layer = layer) -> None:
            number = calls.get(layer.name, 0)
            calls[layer.name] = number + 1
            if number == (layer.call or 0):
                tensor = pick(output, layer.output, where=layer.module)
                versions[layer.name] = (tensor, tensor._version)

        handles.append(network.get_submodule(layer.module).register_forward_hook(keep))
    try:
        _plain_network(network, subject.batch)
        settle("", is_leaf=False)
    finally:
        for handle in handles:
            handle.remove()
    for name, path in culprits.items():
        by = f"before {path} runs" if path else "at the end of the network"
        yield finding(subject, "law-inplace", f"code overwrites the activation of layer {name} in place, {by}")


def dtype(subject: ModelSubject) -> Iterator[Finding]:
    """Find layers that are not float32."""
    for name, activation in subject.reference.items():
        if activation.is_floating_point() and activation.dtype is not torch.float32:
            type_name = str(activation.dtype).removeprefix("torch.")
            yield finding(subject, "law-dtype", f"layer {name} is {type_name} in a network of float32")
        elif not activation.is_floating_point():
            type_name = str(activation.dtype).removeprefix("torch.")
            yield finding(subject, "law-dtype", f"layer {name} is {type_name}, and features are floating-point numbers")


def finite(subject: ModelSubject) -> Iterator[Finding]:
    """Find NaN and infinity."""
    for name, activation in subject.reference.items():
        if activation.is_floating_point() and not activation.isfinite().all():
            number = int((~activation.isfinite()).sum())
            yield finding(subject, "law-finite", f"layer {name} has {number} values that are NaN or infinite")


def precision(subject: ModelSubject) -> Iterator[Finding]:
    """Compare bfloat16 with float32."""
    expected = subject.reference
    try:
        activations = subject.activations(subject.cut(subject.layers, precision="bfloat16"), subject.batch)
    except (LayerzooError, RuntimeError, TypeError, ValueError) as error:
        yield finding(subject, "law-precision", f"the network does not run in bfloat16: {reason_of(error)}")
        return
    for name, activation in activations.items():
        difference = _difference(activation.float(), expected[name].float())
        if difference > _BFLOAT16:
            yield finding(
                subject,
                "law-precision",
                f"layer {name} in bfloat16 differs from float32 by {difference:.2g} of its length",
            )


# ---------------------------------------------------------------- networks


def _hooked(subject: ModelSubject) -> Mapping[str, Tensor]:
    """Return the activations of the whole network, copied before a later module can overwrite them."""
    activations: dict[str, list[Tensor]] = {}
    handles = []
    for layer in subject.layers:
        module = subject.network.get_submodule(layer.module)

        def keep(module: nn.Module, arguments: Any, output: Any, layer: Layer = layer) -> None:
            tensor = pick(output, layer.output, where=layer.module)
            activations.setdefault(layer.name, []).append(_tokens(tensor, layer).clone())

        def keep_input(module: nn.Module, arguments: Any, keywords: Any, layer: Layer = layer) -> None:
            received = arguments if arguments else tuple(keywords.values())
            activations.setdefault(layer.name, []).append(
                _tokens(pick(received, layer.output or 0, where=""), layer).clone()
            )

        if layer.at == "input":
            handles.append(module.register_forward_pre_hook(keep_input, with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(keep))
    try:
        _plain_network(subject.network, subject.batch)
    finally:
        for handle in handles:
            handle.remove()
    calls = {layer.name: layer.call or 0 for layer in subject.layers}
    return {name: tensors[calls[name]] for name, tensors in activations.items() if calls[name] < len(tensors)}


def _tokens(tensor: Tensor, layer: Layer) -> Tensor:
    if layer.last_tokens is None or layer.axes is None:
        return tensor
    axis = layer.axes.index("token")
    return tensor.narrow(axis, tensor.shape[axis] - layer.last_tokens, layer.last_tokens)


def _late_modules(network: nn.Module, layer: Layer, run: Callable[[], object]) -> list[str]:
    """Run a network that is cut at a layer, and return the modules that start after the layer is complete."""
    late: list[str] = []
    calls = 0

    def count(module: nn.Module, arguments: Any, output: Any = None) -> None:
        nonlocal calls
        calls += 1

    handles = []
    for path, module in network.named_modules():

        def enter(module: nn.Module, arguments: Any, path: str = path) -> None:
            if calls > (layer.call or 0):
                late.append(path)

        handles.append(module.register_forward_pre_hook(enter))
    target = network.get_submodule(layer.module)
    if layer.at == "output":
        handles.append(target.register_forward_hook(count, prepend=True))
    else:
        handles.append(target.register_forward_pre_hook(count))
    try:
        with contextlib.suppress(CutError):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(late))


def _few(subject: ModelSubject) -> list[Layer]:
    """Return the first layer, and one in the middle."""
    layers = subject.layers
    return list(dict.fromkeys([layers[0], layers[len(layers) // 2]]))


def _forward(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        activations: dict[str, Tensor] = network(batch)
    return activations


def _plain_network(network: nn.Module, batch: Batch) -> Any:
    with torch.no_grad(), seeded(torch.device("cpu")):
        return batch.run(network)


def _hooks_of(network: nn.Module) -> dict[str, int]:
    return {path: sum(len(getattr(module, word)) for word in _WORDS) for path, module in network.named_modules()}


def _global_hooks() -> int:
    return sum(len(getattr(nn_module, name)) for name in _GLOBAL)


# ---------------------------------------------------------------- values


def _values(subject: ModelSubject, rows: Sequence[InputRow]) -> dict[str, list[NDArray[np.float32]]]:
    """Return the valid positions of each row, by layer."""
    batch = subject.preprocess.collate(rows)
    backbone = subject.backbone
    pools = {layer.name: "none" for layer in subject.layers}
    with seeded(backbone.device):
        return backbone.pool_rows(batch, pools)


def _equal(first: InputRow, second: InputRow) -> bool:
    return all(np.array_equal(array, second.inputs[name]) for name, array in first.inputs.items())


def _changed(row: InputRow) -> InputRow | None:
    """Return a row of the same size with other values; None where all of its inputs are integers of one value."""
    inputs = {}
    is_changed = False
    for name, array in row.inputs.items():
        if np.issubdtype(array.dtype, np.floating):
            inputs[name], is_changed = (-0.7 * array + 0.1).astype(array.dtype), True
        elif name != row.mask and len(np.unique(array)) > 1:
            inputs[name], is_changed = np.flip(array).copy(), True
        else:
            inputs[name] = array
    return replace(row, inputs=inputs) if is_changed else None


def _difference(first: Tensor, second: Tensor) -> float:
    """Return the distance of two activations, as a share of the length of the second; infinite for other shapes."""
    if first.shape != second.shape:
        return float("inf")
    if _equal_tensors(first, second):
        return 0.0
    return _distance(first.detach().float().numpy(), second.detach().float().numpy())


def _equal_tensors(first: Tensor, second: Tensor) -> bool:
    return first.dtype is second.dtype and bool(torch.equal(first.nan_to_num(), second.nan_to_num()))


def _distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    if values.shape != reference.shape:
        return float("inf")
    first, second = (np.nan_to_num(array.astype(np.float64)) for array in (values, reference))
    length = float(np.linalg.norm(second))
    return float(np.linalg.norm(first - second)) / max(length, 1e-12)


MODEL_CHECKS: dict[str, Callable[[ModelSubject], Iterator[Finding]]] = {
    "law-cut": cut,
    "law-many": many,
    "law-stop": stop,
    "law-dropped": dropped,
    "law-batch": batch,
    "law-padding": padding,
    "law-order": order,
    "law-determinism": determinism,
    "law-eval": eval_mode,
    "law-hooks": hooks,
    "law-inplace": inplace,
    "law-dtype": dtype,
    "law-finite": finite,
    "law-precision": precision,
}
