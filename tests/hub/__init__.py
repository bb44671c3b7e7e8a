"""A model hub on the loopback, for tests of real downloads: real HTTP, small repositories, faults on demand.

It answers what huggingface_hub asks of https://huggingface.co about models, from repositories that a test creates:

    with Hub() as hub:
        repository = hub.repository("acme/vit")
        revision = repository.commit({"config.json": "{}", "model.safetensors": weights})
        hub.cut("*.safetensors", after_bytes=1000, times=1)
        hf_hub_download("acme/vit", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path)
        assert hub.bytes_sent("*.safetensors") == 1000 + len(weights)    # cut, and fetched again

In a process of its own, ``hub.run(program, home)`` or the variables of ``hub.environment(home)`` are all it takes.
"""

from tests.hub.repository import Repository
from tests.hub.server import Hub

__all__ = ["Hub", "Repository"]
