"""Its metadata does not say what it is called."""
