"""The folders of the user's configuration and cache, as platformdirs defines them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_APP = "layerzoo"


def config_folder() -> Path:
    """Return the folder of the user's own files. It may not exist."""
    return _xdg_folder("XDG_CONFIG_HOME", ".config") or _by_platformdirs("config")


def cache_folder() -> Path:
    """Return the folder of files that layerzoo can make again. It may not exist."""
    return _xdg_folder("XDG_CACHE_HOME", ".cache") or _by_platformdirs("cache")


def _xdg_folder(variable: str, default: str) -> Path | None:
    """Return a folder in its plain form on Linux: an absolute path in the variable, else the default below HOME.

    platformdirs decides in every other case. It is not imported here: that takes 3 ms, a tenth of `zoo list`.
    Source: XDG Base Directory Specification 0.8.
    """
    if not sys.platform.startswith("linux"):
        return None
    configured, home = os.environ.get(variable, ""), os.environ.get("HOME", "")
    if configured.startswith("/") and configured == configured.strip():
        return Path(configured, _APP)
    if not configured and home.startswith("/"):
        return Path(home, default, _APP)
    return None


def _by_platformdirs(kind: str) -> Path:
    import platformdirs

    return platformdirs.user_config_path(_APP) if kind == "config" else platformdirs.user_cache_path(_APP)
