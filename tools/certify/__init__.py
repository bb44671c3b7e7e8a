"""Run every network of a library, and record for which networks a cut is exact.

``python -m tools.certify timm`` (or ``make certify``). An interrupted run continues where it stopped.
"""
