"""It claims a namespace that another plugin claims too."""
