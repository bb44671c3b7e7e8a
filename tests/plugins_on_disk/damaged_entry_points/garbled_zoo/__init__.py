"""Its entry points are damaged."""
