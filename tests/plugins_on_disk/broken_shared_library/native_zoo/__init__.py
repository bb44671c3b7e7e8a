"""The shared library that it loads is cut off."""

import ctypes
from pathlib import Path

ctypes.CDLL(str(Path(__file__).with_name("libnative.so")))
