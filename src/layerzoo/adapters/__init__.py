"""Adapters to the interfaces of other packages. Each of them is thin: features come from :func:`layerzoo.stream`."""
