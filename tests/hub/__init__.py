"""A model hub on the loopback, for tests of real downloads: real HTTP, small repositories, injected faults.

It implements the requests of huggingface_hub for models, with repositories that a test creates:

    with Hub() as hub:
        repository = hub.repository("acme/vit")
        revision = repository.commit({"config.json": "{}", "model.safetensors": weights})
        hub.cut("*.safetensors", after_bytes=1000, times=1)
        hf_hub_download("acme/vit", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path)
        assert hub.bytes_sent("*.safetensors") == 1000 + len(weights)    # the file was requested twice

``hub.run(program, home)`` runs a program in a separate process that uses this hub. ``hub.environment(home)`` returns
the environment variables for it.
"""

from tests.hub.repository import Repository
from tests.hub.server import Hub

__all__ = ["Hub", "Repository"]
