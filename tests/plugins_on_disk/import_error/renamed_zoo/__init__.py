"""What it wants from a library is not called so any more."""

from click import a_name_of_long_ago  # noqa: F401
