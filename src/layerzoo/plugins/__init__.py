"""Plugins: the hooks they may implement, and the loader that keeps each one's failure to itself."""
