"""Where weights come from. The only package that may open a network connection."""
