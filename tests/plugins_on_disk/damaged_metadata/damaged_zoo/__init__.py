"""Its metadata is no text."""
