"""The library that it asks for is not installed."""

import onnxoid  # noqa: F401
