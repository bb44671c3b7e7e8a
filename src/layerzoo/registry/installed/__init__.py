"""The installation: which plugins are installed, which of them are enabled, and the problems of each."""
