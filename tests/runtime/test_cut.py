"""Cut networks equal whole ones, for networks with every property that breaks naive cutting."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading

import pytest
import torch
from tests.runtime.awkward import AWKWARD
from torch import Tensor, nn

from layerzoo.errors import CutError, LayerError, UnknownLayerError
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.cut import plan_cut
from layerzoo.runtime.fill import trim
from layerzoo.runtime.network import CutNetwork, Stub
from layerzoo.runtime.trace import Trace, pick, trace
from layerzoo.spec import Layer


def batch_for(name: str, size: int = 2) -> Batch:
    return Batch({"pixels": torch.randn(size, *AWKWARD[name].shape, generator=torch.Generator().manual_seed(size))})


def traced(name: str, *until: Layer) -> Trace:
    with torch.device("meta"):
        network = AWKWARD[name].make()
        return trace(network, Batch({"pixels": torch.ones(2, *AWKWARD[name].shape)}), until=until)


def whole(name: str) -> nn.Module:
    torch.manual_seed(0)
    return AWKWARD[name].make().eval()


def cut_at(name: str, *layers: Layer) -> CutNetwork:
    network, cut = whole(name), plan_cut(traced(name), layers, model=name)
    trim(network, cut)
    return CutNetwork(network, cut).eval()


def layers_of(name: str) -> list[Layer]:
    """Yield every tensor that any call of any module returns."""
    return [
        Layer(name=f"{call.module}#{call.index}[{key}]", module=call.module, call=call.index, output=key)
        for call in traced(name).calls
        for key in call.outputs
    ]


def hooked(network: nn.Module, layer: Layer, batch: Batch) -> Tensor:
    """Return the activation of the whole network at a layer, copied before it can be overwritten."""
    calls: list[Tensor] = []
    module = network.get_submodule(layer.module)
    handle = module.register_forward_hook(
        lambda m, a, output: calls.append(pick(output, layer.output, where="").clone())
    )
    with torch.no_grad():
        batch.run(network)
    handle.remove()
    return calls[layer.call or 0]


ALL = [(name, layer) for name in AWKWARD for layer in layers_of(name)]


@pytest.mark.parametrize(("name", "layer"), ALL, ids=lambda value: getattr(value, "name", value))
def test_a_cut_equals_the_whole_network_bit_for_bit(name: str, layer: Layer) -> None:
    batch = batch_for(name)
    with torch.no_grad():
        found = cut_at(name, layer)(batch)
    assert torch.equal(found[layer.name], hooked(whole(name), layer, batch))


@pytest.mark.parametrize("name", AWKWARD)
def test_all_layers_in_one_pass_equal_each_alone(name: str) -> None:
    batch, layers = batch_for(name), layers_of(name)
    with torch.no_grad():
        together = cut_at(name, *layers)(batch)
        for layer in layers:
            assert torch.equal(together[layer.name], cut_at(name, layer)(batch)[layer.name]), layer.name


@pytest.mark.parametrize("name", AWKWARD)
def test_layers_are_returned_in_the_requested_order(name: str) -> None:
    layers = layers_of(name)[::-1]
    assert list(cut_at(name, *layers)(batch_for(name))) == [layer.name for layer in layers]


def test_only_modules_that_run_before_the_stop_are_kept() -> None:
    network = cut_at("RunsOutOfOrder", Layer(name="middle", module="middle"))
    assert set(network.cut.tensors) == {"first.weight", "first.bias", "middle.weight", "middle.bias"}
    assert isinstance(network.network.last, Stub)
    assert isinstance(network.network.unused, Stub)
    assert {name for name, _ in network.named_parameters()} == {f"network.{name}" for name in network.cut.tensors}


def test_weights_of_uncalled_modules_are_kept_if_they_are_read() -> None:
    cut = cut_at("ReadsUncalled", Layer(name="attention", module="attention", output=0)).cut
    assert "attention.out_proj.weight" in cut.tensors
    assert "borrowed.weight" not in cut.tensors


def test_a_stub_raises_when_called() -> None:
    network = cut_at("RunsOutOfOrder", Layer(name="first", module="first")).network
    with pytest.raises(CutError, match="middle is past the cut"):
        network(torch.zeros(1, 3, 16, 16))


def test_the_input_of_a_module_can_be_read_without_running_the_module() -> None:
    layer = Layer(name="penultimate", module="head", at="input")
    network = cut_at("Shared", layer)
    assert "head.weight" not in network.cut.tensors
    batch = batch_for("Shared")
    with torch.no_grad():
        expected = torch.tanh(hooked(whole("Shared"), Layer(name="", module="layer", call=2), batch))
        assert torch.equal(network(batch)["penultimate"], expected)


def test_a_module_that_runs_several_times_needs_a_call() -> None:
    with pytest.raises(LayerError, match="runs 3 times; say which, as in module:layer#0"):
        plan_cut(traced("Shared"), [Layer(name="x", module="layer")], model="m")
    with pytest.raises(LayerError, match=r"runs 3 time\(s\), and call 3 was asked for"):
        plan_cut(traced("Shared"), [Layer(name="x", module="layer", call=3)], model="m")


def test_a_module_that_returns_several_tensors_needs_an_output() -> None:
    with pytest.raises(
        LayerError, match=r"returns 0 \(2, 4, 16, 16\), 1 \(2, 4, 8, 8\), and the layer does not say which"
    ):
        plan_cut(traced("SeveralOutputs"), [Layer(name="x", module="pyramid")], model="m")
    with pytest.raises(LayerError, match="selects 'median'"):
        plan_cut(traced("SeveralOutputs"), [Layer(name="x", module="named", output="median")], model="m")


def test_a_module_that_never_runs_cannot_be_read() -> None:
    with pytest.raises(UnknownLayerError):
        plan_cut(traced("RunsOutOfOrder"), [Layer(name="x", module="unused")], model="m")
    with pytest.raises(UnknownLayerError, match="Nearest: module:middle"):
        plan_cut(traced("RunsOutOfOrder"), [Layer(name="x", module="midle")], model="m")


@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_remains(fails: bool) -> None:
    network = cut_at("InPlace", Layer(name="norm", module="norm"), Layer(name="input", module="relu", at="input"))
    batch = Batch({"pixels": torch.zeros(1, 1)}) if fails else batch_for("InPlace")
    if fails:
        with pytest.raises(RuntimeError):
            network(batch)
    else:
        network(batch)
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_the_network_can_be_trained_up_to_the_cut() -> None:
    network = cut_at("OwnTensors", Layer(name="block.1", module="blocks.1")).train()
    network(batch_for("OwnTensors"))["block.1"].sum().backward()
    untouched = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert untouched == []


def test_an_activation_that_is_overwritten_in_place_has_a_gradient() -> None:
    layers = [Layer(name=name, module=name) for name in ("conv", "norm", "relu")]
    found = cut_at("InPlace", *layers).train()(batch_for("InPlace"))
    sum(activation.square().sum() for activation in found.values()).backward()


def test_a_cut_network_can_be_copied_pickled_and_saved(tmp_path) -> None:
    network, batch = cut_at("ReadsUncalled", Layer(name="after", module="after")), batch_for("ReadsUncalled")
    expected = network(batch)["after"]
    torch.save(network.state_dict(), tmp_path / "cut.pt")
    restored = copy.deepcopy(network)
    restored.load_state_dict(torch.load(tmp_path / "cut.pt", weights_only=True))
    for other in (restored, pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(batch)["after"], expected)


def test_concurrent_threads_do_not_interfere() -> None:
    network = cut_at("Shared", *(Layer(name=str(call), module="layer", call=call) for call in range(3)))
    batches = [batch_for("Shared", size) for size in range(1, 9)]
    expected = [network(batch) for batch in batches]
    failures = []

    def work(index: int) -> None:
        for _ in range(20):
            found = network(batches[index])
            if not all(torch.equal(found[name], expected[index][name]) for name in found):
                failures.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_model_code_that_catches_exceptions_does_not_catch_the_stop() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.inner(x)
            except Exception:  # noqa: BLE001  # the tested property
                x = x * 0
            return self.outer(x)

    batch = Batch({"x": torch.ones(1, 4)})
    with torch.device("meta"):
        found = trace(Stubborn(), Batch({"x": torch.ones(1, 4)}))
    network = Stubborn()
    cut = CutNetwork(network, plan_cut(found, [Layer(name="inner", module="inner")], model="m"))
    assert torch.equal(cut(batch)["inner"], network.inner(torch.ones(1, 4)))


def test_a_trace_counts_parameters_and_flops_up_to_each_layer() -> None:
    found = traced("RunsOutOfOrder")
    first, middle = found.calls_of("first")[0], found.calls_of("middle")[0]
    assert found.params_until(first.end) == 3 * 4 * 9 + 4
    assert found.flops_until(first.end) == 2 * 3 * 4 * 9 * 16 * 16
    assert found.flops_until(middle.end) - found.flops_until(first.end) == 2 * 4 * 4 * 9 * 16 * 16


@pytest.mark.parametrize("name", AWKWARD)
def test_a_partial_trace_plans_the_same_cut_as_a_complete_one(name: str) -> None:
    layers = layers_of(name)
    for layer, other in zip(layers, reversed(layers), strict=True):
        short = traced(name, layer, other)
        assert short.reaches(layer)
        ours, whole = (plan_cut(found, [layer, other], model=name) for found in (short, traced(name)))
        assert (ours.stop, ours.tensors, ours.signature) == (whole.stop, whole.tensors, whole.signature)
        assert ours.modules == whole.modules


def test_a_partial_trace_lists_the_reached_layers() -> None:
    short = traced("RunsOutOfOrder", Layer(name="first", module="first"))
    assert not short.is_whole
    assert short.reaches(Layer(name="first", module="first"))
    assert not short.reaches(Layer(name="last", module="last"))
    assert traced("RunsOutOfOrder").is_whole


def test_tied_weights_are_counted_once() -> None:
    found = traced("Tied")
    assert {"encode.weight", "decode.weight", "again.0.weight"} <= set(found.reads)


def test_every_combination_of_two_layers_stops_at_the_one_that_runs_last() -> None:
    names = ("first", "middle", "last")
    for one, other in itertools.permutations(names, 2):
        cut = cut_at("RunsOutOfOrder", Layer(name=one, module=one), Layer(name=other, module=other)).cut
        assert cut.stop == max(one, other, key=names.index)


class Routed(nn.Module):
    """Two experts. The input selects one."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        return self.experts[int(x.sum() > 0)](x)


def test_a_cut_keeps_modules_that_only_another_input_uses() -> None:
    network = nn.Sequential(Routed(), nn.Linear(4, 4)).eval()
    few, many = Batch({"x": -torch.ones(1, 4)}), Batch({"x": torch.ones(1, 4)})
    found = trace(copy.deepcopy(network), few, has_values=True)
    cut = plan_cut(found, [Layer(name="routed", module="0")], model="m")
    assert {name for name in cut.tensors if name.startswith("1.")} == set()
    part = copy.deepcopy(network)
    trim(part, cut)
    assert torch.equal(CutNetwork(part, cut)(many)["routed"], network[0](torch.ones(1, 4)))
