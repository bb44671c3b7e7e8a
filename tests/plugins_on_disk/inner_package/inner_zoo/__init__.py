"""Its entry point names a package inside it, which cannot be found without importing it."""
