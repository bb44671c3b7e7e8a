"""Runs every network of a library for real, and writes down for which of them a cut is exact.

``python -m tools.certify timm`` (or ``make certify``); a run that was stopped goes on where it was.
"""
