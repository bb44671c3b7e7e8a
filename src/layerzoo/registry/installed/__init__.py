"""The installation: which plugins are installed, which of them are enabled, and what is wrong with them."""
