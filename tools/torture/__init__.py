"""Attacks on the promises of docs/reproducibility-and-safety.md, seeded and repeatable. ``python -m tools.torture``."""
