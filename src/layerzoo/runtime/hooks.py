"""Ask the plugins about a model: the plugin that declares it, the one of its builder, then those of its base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import Tensor, nn

from layerzoo.errors import PluginError
from layerzoo.isolation import without_network
from layerzoo.plugins.failure import folder_of
from layerzoo.plugins.formats import format_of
from layerzoo.plugins.loader import PluginHooks, hooks
from layerzoo.registry import Registry, registry
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files

Answer = TypeVar("Answer")


class ModelHooks:
    """The answers of the plugins for one model. The first plugin that answers wins."""

    def __init__(self, builder: PluginHooks, plugins: tuple[PluginHooks, ...]) -> None:
        self._builder = builder
        self._all = plugins

    @classmethod
    def of(cls, spec: ModelSpec, zoo: Registry) -> ModelHooks:
        """Collect the plugins of a model. Raises: PluginError when the plugin of the builder cannot be used."""
        builder = hooks(zoo.builder_plugin(spec.builder))
        plugins = []
        link: ModelSpec | None = spec
        while link is not None:
            owner = zoo.plugin(link.namespace) if link.plugin else None
            plugins += [hooks(owner)] if owner and owner.module else []
            plugins.append(hooks(zoo.builder_plugin(link.builder)))
            link = zoo.model(link.base) if link.base else None
        return cls(builder, tuple(dict.fromkeys(plugins)))

    @property
    def identity(self) -> str:
        """Names and versions of the distributions, which determine the answers."""
        return "+".join(
            dict.fromkeys(f"{plugin.manifest.distribution}-{plugin.manifest.version}" for plugin in self._all)
        )

    @property
    def folders(self) -> list[str]:
        """Folders of the plugins' packages."""
        folders = (folder_of(plugin.manifest) for plugin in self._all)
        return [folder for folder in folders if folder is not None]

    @property
    def read_files(self) -> bool:
        """Whether a network or its preprocessing depends on files next to the checkpoint."""
        return any(plugin.reads_files for plugin in self._all)

    def without_network(self, model: str) -> AbstractContextManager[None]:
        """Return a context in which the code that the plugins gave opens no connection. model: for the error."""
        return without_network(model)

    def evaluating(self, network: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which features are computed. A loaded network is in eval mode already."""
        return nullcontext()

    def build(self, spec: ModelSpec, files: Files) -> Any:
        return self._builder.build(spec, files)

    def describe(self, spec: ModelSpec, files: Files) -> Mapping[str, Any] | None:
        return self._first_mapping("layerzoo_describe", spec, lambda plugin: plugin.describe(spec, files))

    def dtype(self, spec: ModelSpec, files: Files) -> str | None:
        """Return the dtype that the model's library computes in by default; None if no plugin states one."""
        return self._first(lambda plugin: plugin.dtype(spec, files))

    def preprocess(self, spec: ModelSpec, files: Files) -> Any:
        return self._first(lambda plugin: plugin.preprocess(spec, files))

    def read_weights(self, spec: ModelSpec, files: Files) -> Mapping[str, Tensor] | None:
        return self._first_mapping("layerzoo_read_weights", spec, lambda plugin: plugin.read_weights(spec, files))

    def with_format_of(self, files: Files) -> ModelHooks:
        """Return these hooks and, asked last, those of the plugin that declares the format of the checkpoint."""
        name = files.checkpoint_name
        declared = None if name is None else format_of(name, "weights")
        if declared is None:
            return self
        return ModelHooks(self._builder, (*self._all, hooks(registry().plugin(declared.namespace))))

    def state_dict(self, spec: ModelSpec, files: Files, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        def ask(plugin: PluginHooks) -> Mapping[str, Tensor] | None:
            return plugin.state_dict(spec, files, tensors)

        return self._first_mapping("layerzoo_state_dict", spec, ask)

    def _first(self, ask: Callable[[PluginHooks], Answer | None]) -> Answer | None:
        return next((answer for plugin in self._all if (answer := ask(plugin)) is not None), None)

    def _first_mapping(
        self, hook: str, spec: ModelSpec, ask: Callable[[PluginHooks], Mapping[str, Answer] | None]
    ) -> Mapping[str, Answer] | None:
        answer: object = self._first(ask)
        if answer is None or isinstance(answer, Mapping):
            return answer
        raise PluginError(
            f"the hook {hook} answers {type(answer).__name__} for {spec.id}, and not a mapping by name",
            plugin=spec.builder,
        )
