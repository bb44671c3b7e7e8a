"""Plugins that are wrong in one way each: the test of the checks.

``correct`` has the plugins that are right, ``making`` writes one of them with a change, and ``all_mutants`` lists the
changes with the check that has to find each.
"""
