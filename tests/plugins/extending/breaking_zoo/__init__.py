"""A plugin that cannot be imported."""

import a_missing_library  # noqa: F401
