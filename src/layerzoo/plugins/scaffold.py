"""Write the files of a new plugin, from the templates next to this module.

A template is a file of a plugin with the distribution ``acme-zoo``, the package ``acme_zoo`` and the namespace
``acme``. Its name ends in ``.txt``, so that no tool takes it for code of layerzoo.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from layerzoo.errors import OutputError, UsageError
from layerzoo.modalities import Modality
from layerzoo.registry import registry
from layerzoo.registry.format.source import is_namespace
from layerzoo.registry.installed.plugin import CORE_NAMESPACE, USER_NAMESPACE, canonical

Library = Literal["own", "timm", "transformers", "torchaudio", "torchvision"]
"""The library that has the network of a new plugin; ``own`` if the plugin has it."""
LIBRARIES: tuple[Library, ...] = get_args(Library)

_TEMPLATES = Path(__file__).parent / "template"
_DISTRIBUTION = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?")
_LONGEST = 100
_YAML_WORDS = ("null", "true", "false")
"""Words that YAML does not read as text."""
_NAMES = re.compile("acme-zoo|acme_zoo|AcmeZoo|acme")
_MODEL = re.compile(r"^  ([\w-]+):", re.MULTILINE)

_EXTRAS: Mapping[Modality, str] = {
    "text": "torch",
    "vision": "torch,image",
    "audio": "torch,audio",
    "video": "torch,image,audio",
}
_REQUIREMENTS: Mapping[Library, str] = {
    "timm": "timm>=1.0",
    "transformers": "transformers>=5.0",
    "torchaudio": "torchaudio>=2.6",
    "torchvision": "torchvision>=0.21",
}
_PLUGINS: Mapping[Library, str] = {
    "timm": "timm", "transformers": "hf", "torchaudio": "torchaudio", "torchvision": "torchvision",
}  # fmt: skip
"""The extra of layerzoo that installs the builder of a library."""
_INPUTS: Mapping[Modality, str] = {
    "text": "texts.txt", "vision": "photos/", "audio": "speech.wav", "video": "clip.mp4",
}  # fmt: skip
_CODE = "`src/acme_zoo/__init__.py` builds their networks."
_NO_CODE = "A plugin of layerzoo builds their networks."
_WEIGHTS_FILE = """\
Add a safetensors file to
`src/acme_zoo/`, and declare it with the output of `sha256sum`:

```yaml
    weights:
      source: package://acme-zoo/acme_zoo/model.safetensors
      sha256: 64 hexadecimal digits
```"""
_WEIGHTS_FOLDER = """\
Replace `src/acme_zoo/model/` by
what `model.save_pretrained` and `tokenizer.save_pretrained` write, declare the digest of each file in registry.yaml
(`sha256sum src/acme_zoo/model/*`), and remove `src/acme_zoo/conformance.toml`."""


class _Names(NamedTuple):
    distribution: str
    module: str
    namespace: str

    def fill(self, template: str) -> str:
        """Return a template with the names of this plugin."""
        names = {
            "acme-zoo": self.distribution,
            "acme_zoo": self.module,
            "AcmeZoo": "".join(part[:1].upper() + part[1:] for part in self.module.split("_")),
            "acme": self.namespace,
        }
        return _NAMES.sub(lambda match: names[match[0]], template)


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """A plugin that was written to disk.

    folder: the folder of its project.
    files: its files, relative to the folder.
    namespace: the namespace of its models.
    model: the id of its first model.
    inputs: the name of an example input of that model.
    """

    folder: Path
    files: tuple[Path, ...]
    namespace: str
    model: str
    inputs: str


def libraries(modality: Modality, *, yaml_only: bool = False) -> tuple[Library, ...]:
    """Return the libraries for which there is a template.

    Args:
        modality: the modality of the models.
        yaml_only: True for plugins without code.
    """
    return tuple(name for name in LIBRARIES if (_TEMPLATES / _variant(modality, name, yaml_only)).is_dir())


def write_plugin(
    name: str,
    modality: Modality,
    library: Library = "own",
    *,
    yaml_only: bool = False,
    namespace: str | None = None,
    into: Path = Path(),
) -> NewPlugin:
    """Write the project of a new plugin into a new folder of its name. Nothing is downloaded, and no code of it runs.

    Args:
        name: the name of the distribution, such as ``acme-zoo``.
        modality: the modality of its model.
        library: the library that has the network.
        yaml_only: declare the model for the builder of the library's plugin, without any code.
        namespace: the namespace of its models. By default the name without ``layerzoo-`` and ``-zoo``.
        into: the folder that the folder of the project is created in.
    Returns: the files and names of the plugin.
    Raises: UsageError for a name that is invalid or taken, and for a variant that does not exist; OutputError if the
        folder exists or cannot be written.
    """
    _check_variant(modality, library, yaml_only)
    names = _names(name, namespace)
    variant = _TEMPLATES / _variant(modality, library, yaml_only)
    (model, *_) = _MODEL.findall((variant / "registry.yaml.txt").read_text(encoding="utf-8"))
    new_plugin = partial(
        NewPlugin, namespace=names.namespace, model=f"{names.namespace}/{model}", inputs=_INPUTS[modality]
    )
    values = {
        "@DEPENDENCIES@": ", ".join(f'"{text}"' for text in _requirements(modality, library, yaml_only)),
        "@MODEL@": f"acme/{model}",
        "@INPUT@": _INPUTS[modality],
        "@CODE@": _NO_CODE if yaml_only else _CODE,
        "@WEIGHTS@": _WEIGHTS_FOLDER if (variant / "model").is_dir() else _WEIGHTS_FILE,
    }
    contents = {
        Path(names.fill(path)): names.fill(_replaced(text, values))
        for path, text in _files(variant, has_code=not yaml_only)
    }
    folder = into / name
    _write(folder, contents)
    return new_plugin(folder, tuple(sorted(contents)))


def _variant(modality: Modality, library: Library, yaml_only: bool) -> str:
    return f"{modality}-{library}{'-yaml-only' if yaml_only else ''}"


def _check_variant(modality: Modality, library: Library, yaml_only: bool) -> None:
    available = libraries(modality, yaml_only=yaml_only)
    if library in available:
        return
    if library == "own":
        raise UsageError(
            "a plugin with its own network has code, so that --yaml-only needs the library that has the network. "
            f"Next: --library {' or '.join(available)}"
        )
    raise UsageError(
        f"there is no template for {modality} models of {library}. Next: --library {' or '.join(available)}"
    )


def _names(name: str, namespace: str | None) -> _Names:
    if not _DISTRIBUTION.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"'{name[:_LONGEST]}' is not the name of a distribution: letters, digits, -, _ and ., as in acme-zoo, "
            f"and at most {_LONGEST} of them"
        )
    module = canonical(name).replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(f"'{module}' cannot be imported, so that no package can be called {name}. Next: another name")
    if not _is_own_module(module, name):
        raise UsageError(
            f"a module '{module}' exists already, and the package of {name} would hide it. Next: another name, such as "
            f"{canonical(name)}-zoo"
        )
    chosen = namespace or canonical(name).removeprefix("layerzoo-").removesuffix("-zoo")
    if not is_namespace(chosen) or not chosen[0].isalpha() or chosen in _YAML_WORDS:
        raise UsageError(
            f"'{chosen}' is not a valid namespace of a new plugin: a letter first, then lower-case letters, digits, "
            "- and _. Next: --namespace"
        )
    if (owner := _owner(chosen, name)) is not None:
        raise UsageError(f"the namespace '{chosen}' is that of {owner}. Next: another one, with --namespace")
    return _Names(name, module, chosen)


def _is_own_module(module: str, distribution: str) -> bool:
    """Return whether a module does not exist, or is that of an installed version of the plugin."""
    if module in sys.stdlib_module_names:
        return False
    from importlib import util

    if util.find_spec(module) is None:
        return True
    return any(
        plugin.module == module and canonical(plugin.distribution) == canonical(distribution)
        for plugin in registry().plugins()
    )


def _owner(namespace: str, distribution: str) -> str | None:
    """Return the owner of a namespace, None if it is free."""
    if namespace == USER_NAMESPACE:
        return "the user's own models"
    if namespace == CORE_NAMESPACE:
        return "layerzoo itself"
    zoo = registry()
    owners = [
        plugin.distribution
        for plugin in zoo.plugins()
        if namespace
        in (plugin.namespace, *plugin.builders)  # the builder of a new plugin has the name of its namespace
    ]
    owners += [
        published["package"]
        for name, published in zoo.published().items()
        if namespace in (name, *published.get("builders", ()))
    ]
    return next((owner for owner in owners if canonical(owner) != canonical(distribution)), None)


def _requirements(modality: Modality, library: Library, yaml_only: bool) -> Iterator[str]:
    """Yield the requirements of the distribution. A minor version of layerzoo may add to the format of
    registry.yaml."""
    from importlib import metadata  # takes 10 ms

    release = ".".join(metadata.version("layerzoo").split(".")[:2])
    extras = [_PLUGINS[library] if yaml_only else _EXTRAS[modality]]
    if modality == "video" and library == "timm":
        extras.append("video")  # the builder `frames`
    yield f"layerzoo[{','.join(extras)}]>={release}"
    if not yaml_only and library in _REQUIREMENTS:
        yield _REQUIREMENTS[library]


def _files(variant: Path, *, has_code: bool) -> Iterator[tuple[str, str]]:
    """Yield the path of each file of a plugin and its template."""
    package = Path("src/acme_zoo")
    folders = [(Path(), _TEMPLATES / "project"), (package, variant)]
    if not has_code:
        folders.append((package, _TEMPLATES / "yaml-only"))
    for prefix, folder in folders:
        for path in sorted(folder.rglob("*.txt")):
            target = prefix / path.relative_to(folder).with_suffix("")
            yield target.as_posix(), path.read_text(encoding="utf-8")


def _replaced(template: str, values: Mapping[str, str]) -> str:
    for key, value in values.items():
        template = template.replace(key, value)
    return template


def _write(folder: Path, contents: Mapping[Path, str]) -> None:
    """Write files into a new folder: all of them or none."""
    try:
        if folder.exists():
            raise OutputError(f"{folder} exists already. Next: another name, or remove it", path=folder)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            staged = Path(scratch) / folder.name
            for path, text in contents.items():
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                (staged / path).write_text(text, encoding="utf-8")
            shutil.move(staged, folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}", path=folder) from error
