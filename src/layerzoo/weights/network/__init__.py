"""The only code that opens a connection. Everything else gets local paths.

huggingface_hub does the transport, so that its settings (``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``,
``HF_HUB_OFFLINE``, proxies and certificates) work as its users expect. Every failure is an error of
:mod:`layerzoo.errors`.
"""

from layerzoo.weights.network.connection import is_offline
from layerzoo.weights.network.hub import (
    Listing,
    RemoteFile,
    adopt,
    adopted,
    cached,
    cached_commit,
    hub_cache,
    hub_endpoint,
    listing,
    snapshot_folder,
)
from layerzoo.weights.network.ranges import Endpoint, RangesIgnoredError, fetch, fetch_all, size_of, web_endpoint

__all__ = [
    "Endpoint",
    "Listing",
    "RangesIgnoredError",
    "RemoteFile",
    "adopt",
    "adopted",
    "cached",
    "cached_commit",
    "fetch",
    "fetch_all",
    "hub_cache",
    "hub_endpoint",
    "is_offline",
    "listing",
    "size_of",
    "snapshot_folder",
    "web_endpoint",
]
