"""The user's folders are those of platformdirs, whatever the environment says."""

from __future__ import annotations

import os

import platformdirs
import pytest

from layerzoo.user_folders import cache_folder, config_folder


@pytest.mark.parametrize("value", [None, "", " ", "/tmp/a b", "/tmp/a/", "//tmp/a", "relative", "~/a", " /tmp/a", "/"])
@pytest.mark.parametrize("home", [None, "", "/", "/home/someone", "relative", "/home/someone/"])
def test_a_folder_is_that_of_platformdirs(value: str | None, home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in (("XDG_CONFIG_HOME", value), ("XDG_CACHE_HOME", value), ("HOME", home)):
        monkeypatch.delenv(name, raising=False)
        if setting is not None:
            monkeypatch.setenv(name, setting)
    assert os.fspath(config_folder()) == os.fspath(platformdirs.user_config_path("layerzoo"))
    assert os.fspath(cache_folder()) == os.fspath(platformdirs.user_cache_path("layerzoo"))
