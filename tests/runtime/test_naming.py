"""Layers of networks that declare none are named from their structure: small networks of each kind."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from layerzoo.layers import select
from layerzoo.plugins.chain import Chain
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.naming import name_layers
from layerzoo.runtime.trace import Trace, trace
from layerzoo.spec import Layer


class Residual(nn.Module):
    """A block that contains further operations."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Sequential(layer, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class Classified(nn.Module):
    """A body, then the mean over height and width, then a classifier."""

    def __init__(self, width: int, **body: nn.Module) -> None:
        super().__init__()
        for name, part in body.items():
            self.add_module(name, part)
        self._parts = list(body)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        for name in self._parts:
            x = self.get_submodule(name)(x)
        return self.classifier(self.pool(x))


def conv(width_in: int, width: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(width_in, width, 3, stride, padding=1)


def stage(width_in: int, width: int, blocks: int) -> nn.Module:
    return nn.Sequential(conv(width_in, width, stride=2), *(Residual(conv(width, width)) for _ in range(blocks)))


def narrowing() -> nn.Module:
    """Return stages whose width doubles where one side is halved, so that width times height stays the same."""
    widths = (4, 8, 16, 32)
    return nn.Sequential(
        *(nn.Sequential(Residual(nn.Conv2d(width, width, 1)), conv(width, 2 * width, 2)) for width in widths[:-1])
    )


class Tokens(nn.Module):
    """Patches and a class token, passed through equal blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.drop = nn.Dropout()
        self.blocks = nn.ModuleList([Residual(nn.Linear(8, 8)) for _ in range(3)])
        self.final = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.drop(torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1))
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.final(x)[:, 0])


class Repeated(nn.Module):
    """One block that runs four times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 4, 4)
        self.layer0 = Residual(conv(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for _ in range(4):
            x = self.layer0(x)
        return x


class ChannelsLast(nn.Module):
    """Stages that return height, width, channel; the classifier uses the mean."""

    class Stage(nn.Module):
        def __init__(self, width: int, *, halves: bool) -> None:
            super().__init__()
            self.blocks = nn.Sequential(*(Residual(nn.Linear(width, width)) for _ in range(2)))
            self.halves = halves

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(x[:, ::2, ::2] if self.halves else x)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList([self.Stage(8, halves=bool(index)) for index in range(3)])
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean((1, 2)))


class Branches(nn.Module):
    """Two parallel maps of different resolution."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = conv(4, 4), conv(6, 6)

        def forward(self, maps: list[Tensor]) -> list[Tensor]:
            return [self.fine(maps[0]), self.coarse(maps[1])]

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(3, 6, 4, 4)
        self.blocks = nn.ModuleList([self.Pair() for _ in range(3)])
        self.head = nn.Linear(4 + 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.fine(x), self.coarse(x)]
        for block in self.blocks:
            maps = block(maps)
        return self.head(torch.cat([each.mean((2, 3)) for each in maps], dim=1))


def traced(network: nn.Module, size: tuple[int, ...] = (32, 32)) -> Trace:
    return trace(network, Batch({"x": torch.zeros(2, 3, *size)}))


def named(network: nn.Module, size: tuple[int, ...] = (32, 32)) -> dict[str, str]:
    return {layer.name: layer.address for layer in name_layers(traced(network, size))}


def regular() -> nn.Module:
    return Classified(12, stem=conv(3, 6), layer1=stage(6, 8, 2), layer2=stage(8, 10, 1), layer3=stage(10, 12, 2))


def test_stages_end_where_the_resolution_drops_and_contain_a_chain_of_blocks() -> None:
    assert named(regular()) == {
        "stem": "stem",
        "stage.0.block.0": "layer1.1",
        "stage.0.block.1": "layer1.2",
        "stage.0": "layer1",
        "stage.1.block.0": "layer2.1",
        "stage.1": "layer2",
        "stage.2.block.0": "layer3.1",
        "stage.2.block.1": "layer3.2",
        "stage.2": "layer3",
        "pooled": "pool",
        "head": "classifier",
    }


def test_a_stage_can_consist_of_several_modules() -> None:
    same = nn.Sequential(Residual(conv(8, 8)), Residual(conv(8, 8)))
    body = nn.Sequential(stage(4, 8, 1), same, stage(8, 10, 2))
    found = named(Classified(10, stem=conv(3, 4), blocks=body))
    assert {name: found[name] for name in found if name.startswith("stage")} == {
        "stage.0.block.0": "blocks.0.1",
        "stage.0.block.1": "blocks.1.0",
        "stage.0.block.2": "blocks.1.1",
        "stage.0": "blocks.1",
        "stage.1.block.0": "blocks.2.1",
        "stage.1.block.1": "blocks.2.2",
        "stage.1": "blocks.2",
    }


def test_a_flat_chain_of_layers_has_stages_and_no_blocks() -> None:
    body = nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU(), nn.MaxPool2d(2), conv(6, 8))
    assert named(Classified(8, features=body)) == {
        "stage.0": "features.1",
        "stage.1": "features.4",
        "stage.2": "features.6",
        "pooled": "pool",
        "head": "classifier",
    }


class BareConvolutions(nn.Module):
    """A small network as a tutorial writes it, whose activation functions are modules of their own or one for all."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 8), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = conv(8, 16, 2), nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.relu2 = self.relu1 if shared else nn.ReLU()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.fc(self.pool(x).flatten(1))


@pytest.mark.parametrize(("shared", "ends"), [(False, ["relu1", "relu2"]), (True, ["relu1#0", "relu1#1"])])
def test_stages_of_bare_convolutions_end_after_their_activation_functions(shared: bool, ends: list[str]) -> None:
    layers = {layer.name: layer.address for layer in name_layers(traced(BareConvolutions(shared=shared).eval()))}
    assert layers == {"stage.0": ends[0], "stage.1": ends[1], "pooled": "pool", "head": "fc"}


def test_the_blocks_of_a_flat_chain_belong_to_its_stages() -> None:
    body = nn.Sequential(Residual(conv(8, 8)), Residual(conv(8, 8)), nn.AvgPool2d(2), Residual(conv(8, 8)))
    found = named(Classified(8, stem=conv(3, 8), blocks=body))
    assert [found[f"stage.0.block.{index}"] for index in range(2)] == ["blocks.0", "blocks.1"]
    assert (found["stage.0"], found["stage.1"]) == ("blocks.1", "blocks.3")


def test_a_module_named_like_a_stage_without_reduction_is_the_stem() -> None:
    small = nn.Conv2d(3, 6, 1)
    body = {"layer0": small, "pool0": nn.MaxPool2d(2), "layer1": stage(6, 8, 2), "layer2": stage(8, 32, 3)}
    found = named(Classified(32, **body))
    assert (found["stem"], found["stage.0"], found["stage.1"]) == ("pool0", "layer1", "layer2")


def test_modules_with_equal_shapes_are_blocks_and_their_input_is_the_stem() -> None:
    assert named(Tokens()) == {
        "stem": "drop",
        "block.0": "blocks.0",
        "block.1": "blocks.1",
        "block.2": "blocks.2",
        "norm": "final",
        "head": "classifier",
    }


class Mixer(nn.Module):
    """A block whose layers are in a container too."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(x)


class Few(nn.Module):
    """Patches, from one or several convolutions, passed through a number of blocks."""

    def __init__(self, blocks: int, *, convolutions: int = 1) -> None:
        super().__init__()
        sizes = [3] + [8] * convolutions
        self.stem = nn.Sequential(*(nn.Conv2d(one, 8, 2, 2) for one in sizes[:-1]))
        self.blocks = nn.ModuleList(Mixer() for _ in range(blocks))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_only_block_of_a_network_is_block_0(blocks: int) -> None:
    names = named(Few(blocks))
    assert [name for name in names if name.startswith("block")] == [f"block.{index}" for index in range(blocks)]
    assert names["block.0"] == "blocks.0"


def test_a_library_can_declare_a_single_block() -> None:
    found = {layer.name: layer.module for layer in name_layers(traced(Few(1, convolutions=3)), Chain(single=True))}
    assert found["block.0"] == "blocks.0"


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_blocks_counted_by_a_library_take_precedence_over_earlier_convolutions(blocks: int) -> None:
    class Heavy(Few):
        """Most of the FLOPs are in convolutions, which are as many as the blocks, and contain modules."""

        def __init__(self) -> None:
            super().__init__(blocks, convolutions=4)
            self.stem = nn.Sequential(*(nn.Sequential(convolution, nn.GELU()) for convolution in self.stem))
            self.stem[0][0] = nn.Conv2d(3, 8, 15, 2, 7)

    def found(chain: Chain) -> list[str]:
        layers = {layer.name: layer.module for layer in name_layers(traced(Heavy()), chain)}
        return [module for name, module in layers.items() if name.startswith("block")]

    assert found(Chain(count=blocks)) == [f"blocks.{index}" for index in range(blocks)]
    assert not any(module.startswith("blocks") for module in found(Chain(count=blocks + 1)))


def test_a_module_that_runs_several_times_is_named_with_its_calls() -> None:
    assert named(Repeated()) == {"stem": "embed"} | {f"block.{index}": f"layer0#{index}" for index in range(4)}


def test_channels_can_be_the_last_axis() -> None:
    found = named(ChannelsLast())
    assert [found[f"stage.{index}"] for index in range(3)] == ["layers.0", "layers.1", "layers.2"]
    assert (found["stem"], found["norm"], found["head"]) == ("patches", "norm", "head")
    assert found["stage.2.block.1"] == "layers.2.blocks.1"


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (32, 40), (36, 100), (160, 32)])
def test_names_are_the_same_for_an_image_that_is_not_square(size: tuple[int, int]) -> None:
    for network in (regular(), ChannelsLast(), Branches(), Classified(32, stem=conv(3, 4), body=narrowing())):
        assert named(network, size) == named(network)


@pytest.mark.parametrize("size", [(4, 32, 32), (4, 32, 64)])
def test_stages_of_clips_end_where_the_resolution_drops(size: tuple[int, ...]) -> None:
    body = nn.Sequential(
        *(nn.Conv3d(3 * 8**index, 3 * 8 ** (index + 1), 3, (1, 2, 2), padding=1) for index in range(3))
    )
    assert list(named(body, size)) == ["stage.0", "stage.1", "stage.2"]


def test_parallel_maps_are_branches_with_separate_stems() -> None:
    assert named(Branches()) == {
        "branch.0.stem": "fine",
        **{f"branch.0.block.{index}": f"blocks.{index}[0]" for index in range(3)},
        "branch.1.stem": "coarse",
        **{f"branch.1.block.{index}": f"blocks.{index}[1]" for index in range(3)},
        "head": "head",
    }


def test_a_layer_can_select_the_first_of_several_maps() -> None:
    found = [layer.address for layer in name_layers(traced(Branches()), Chain(branches=False))]
    assert found[-4:] == ["blocks.0[0]", "blocks.1[0]", "blocks.2[0]", "head"]


def test_the_chain_can_be_declared_by_module_paths() -> None:
    names = {layer.name: layer.address for layer in name_layers(traced(regular()), Chain(modules=r"layer[23]"))}
    assert (names["stem"], names["stage.0"], names["stage.1"]) == ("layer1", "layer2", "layer3")


def test_a_network_without_a_chain_has_no_layer_names() -> None:
    assert name_layers(traced(nn.Sequential(OrderedDict(flat=nn.Flatten(), linear=nn.Linear(3 * 32 * 32, 2))))) == ()


class TwoPaths(nn.Module):
    """A stage whose blocks are on one of two paths, which are joined after them."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.reduce = conv(width_in, width, stride=2)
        self.blocks = nn.Sequential(*(Residual(conv(width, width)) for _ in range(4)))
        self.join = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return self.join(torch.cat([x, self.blocks(x)], dim=1))


def test_blocks_on_one_of_two_paths_are_not_blocks_of_the_stage() -> None:
    body = {"stem": conv(3, 4), "layer1": TwoPaths(4, 6), "layer2": TwoPaths(6, 8)}
    assert [name for name in named(Classified(8, **body)) if "block" in name] == []


def test_blocks_can_be_declared_by_module_paths() -> None:
    message = Chain(blocks=r"layer2\.[12]")
    names = [layer.name for layer in name_layers(traced(regular()), message) if "block" in layer.name]
    assert names == ["stage.1.block.0"]


def test_axes_can_be_inferred_from_their_number() -> None:
    message = Chain(axes={"layer.*|head": ["batch token channel", "batch channel height width"]})
    axes = {layer.name: layer.axes for layer in name_layers(traced(regular()), message)}
    assert (axes["stage.0"], axes["stem"]) == (("batch", "channel", "height", "width"), None)


class Ensemble(Branches):
    """A norm and a classifier for each branch; the mean of both is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for width in (4, 6)])
        self.heads = nn.ModuleList([nn.Linear(width, 10) for width in (4, 6)])

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.fine(x), self.coarse(x)]
        for block in self.blocks:
            maps = block(maps)
        maps = [norm(each) for norm, each in zip(self.norms, maps, strict=True)]
        first, second = (head(each.mean((2, 3))) for head, each in zip(self.heads, maps, strict=True))
        return (first + second) / 2


def test_modules_of_one_branch_belong_to_that_branch() -> None:
    found = named(Ensemble())
    own = {name: address for name, address in found.items() if name.endswith(("norm", "head"))}
    assert own == {
        "branch.0.norm": "norms.0",
        "branch.0.head": "heads.0",
        "branch.1.norm": "norms.1",
        "branch.1.head": "heads.1",
    }


def test_the_pooled_vector_is_the_input_of_the_head() -> None:
    body = regular()
    body.classifier = nn.Sequential(nn.Linear(12, 9), nn.LayerNorm(9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 10))
    found = named(body)
    assert (found["pooled"], found["head"]) == ("classifier.2", "classifier.4")


def test_without_a_classifier_the_pooled_vector_is_the_output_of_the_network() -> None:
    body = regular()
    body.classifier = nn.Sequential(nn.Linear(12, 9), nn.ReLU())
    found = named(body)
    assert (found["pooled"], "head" in found) == ("classifier", False)


class Weighted(nn.Module):
    """Two normed maps, added and weighted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Sequential(conv(width, width), nn.BatchNorm2d(width))
        self.two = nn.Sequential(conv(width, width), nn.BatchNorm2d(width))
        self.weight = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x) + self.two(x)
        return x * self.weight(x.mean((2, 3), keepdim=True)).sigmoid()


def test_a_norm_whose_output_is_added_to_another_is_not_the_final_norm() -> None:
    body = {"stem": conv(3, 4), "layer1": stage(4, 8, 2), "layer2": stage(8, 12, 2), "final": Weighted(12)}
    assert "norm" not in named(Classified(12, **body))


def layers_of(*names: str) -> list[Layer]:
    return [Layer(name=name, module=name, depth=index / len(names)) for index, name in enumerate(names)]


STAGED = layers_of("stem", "stage.0.block.0", "stage.0", "stage.1.block.0", "stage.1.block.1", "stage.1", "head")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("stage.*", ["stage.0", "stage.1"]),
        ("stage.-1", ["stage.1"]),
        ("stage.1.block.-1", ["stage.1.block.1"]),
        ("stage.-1.block.-2", ["stage.1.block.0"]),
        ("stage.*.block.*", ["stage.0.block.0", "stage.1.block.0", "stage.1.block.1"]),
        ("stage.*.block.-1", ["stage.0.block.0", "stage.1.block.1"]),
        ("last", ["stage.1"]),
    ],
)
def test_selectors_reach_the_blocks_of_stages(selector: str, expected: list[str]) -> None:
    assert [layer.name for layer in select(STAGED, selector, model="mine/x")] == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("branch.*.block.-1", ["branch.0.block.1", "branch.1.block.1"]),
        ("branch.1.block.*", ["branch.1.block.0", "branch.1.block.1"]),
        ("last", ["branch.1.block.1"]),
    ],
)
def test_selectors_reach_branches(selector: str, expected: list[str]) -> None:
    branches = layers_of("stage.0", "branch.0.block.0", "branch.1.block.0", "branch.0.block.1", "branch.1.block.1")
    assert [layer.name for layer in select(branches, selector, model="mine/x")] == expected


class Detector(nn.Module):
    """A backbone, an encoder of its last map, and a decoder of three queries with most of the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(stage(3, 8, 1), stage(8, 8, 1))
        self.encoder = nn.ModuleList([Residual(nn.Linear(8, 8)) for _ in range(2)])
        self.queries = nn.Parameter(torch.zeros(3, 8))
        self.decoder = nn.ModuleList([Residual(nn.Linear(8, 8)) for _ in range(2)])
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x).flatten(2).transpose(1, 2)
        for block in self.encoder:
            x = block(x)
        objects = self.queries + x.mean(1, keepdim=True)
        for block in self.decoder:
            objects = block(objects)
        return self.norm(objects)


def test_modules_after_the_backbone_have_the_names_of_the_library() -> None:
    after = {"neck.block.*": r"encoder\.\d+", "query.block.*": r"decoder\.\d+", "query.norm": "norm"}
    found = name_layers(traced(Detector()), Chain(within="backbone", after=after))
    assert {layer.name: layer.module for layer in found} == {
        "stage.0.block.0": "backbone.0.1",
        "stage.0": "backbone.0",
        "stage.1.block.0": "backbone.1.1",
        "stage.1": "backbone.1",
        "neck.block.0": "encoder.0",
        "neck.block.1": "encoder.1",
        "query.block.0": "decoder.0",
        "query.block.1": "decoder.1",
        "query.norm": "norm",
    }


def test_object_tokens_have_separate_layers_in_the_same_blocks() -> None:
    found = {layer.name: layer for layer in name_layers(traced(Tokens()), Chain(suffix_tokens=2))}
    assert (found["block.1"].suffix_tokens, found["block.1"].last_tokens) == (2, None)
    assert (found["query.block.1"].module, found["query.block.1"].last_tokens) == ("blocks.1", 2)
    assert found["query.norm"].module == "final"


def test_stages_of_audio_are_inferred_with_channels_before_time() -> None:
    body = nn.Sequential(*(nn.Conv1d(2**index, 2 ** (index + 1), 4, 2) for index in range(3)))
    found = name_layers(trace(body, Batch({"x": torch.zeros(2, 1, 64)})))
    assert [layer.name for layer in found] == ["stage.0", "stage.1", "stage.2"]
