"""A model in a separate folder: a configuration and processor files, without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from layerzoo.runtime import Preprocessor, load_preprocess
from layerzoo.spec import Modality, ModelSpec, Weights


@contextmanager
def preprocessor_of(modality: Modality, *saved: Callable[[Path], Any]) -> Iterator[tuple[Path, Preprocessor]]:
    """Load the preprocessing of a model in a folder, as of any model in a user's folder.

    Args:
        modality: the modality of the model.
        saved: the ``save_pretrained`` of its configuration and of its processor.

    Yields: the folder, and the preprocessing.
    Raises: LayerzooError if layerzoo refuses the model.
    """
    with TemporaryDirectory(prefix="certify-") as name:
        folder = Path(name)
        for save in saved:
            save(folder)
        weights = Weights(source=f"file:{folder}/")
        spec = ModelSpec(id="certificate/model", modality=modality, builder="transformers", weights=weights)
        yield folder, load_preprocess(spec)


def plain(error: BaseException) -> str:
    """Format an error in one line, without the id of the model and the path of its folder and of the checkout."""
    text = " ".join(str(error).split()).replace("certificate/model: ", "")
    return text.replace(f"{Path(__file__).parents[3]}/", "")[:200]
