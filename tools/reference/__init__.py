"""Writes docs/reference from the source: what a program, a terminal and an author of registry.yaml can rely on."""
