"""Check that plugins are right: `zoo plugin check`, and :class:`layerzoo.testing.BackboneConformance` for pytest.

``codes`` lists the checks, ``target`` finds the plugins and models, ``subject`` prepares one plugin or one model, and
each other module has the checks of one tier. ``engine`` runs them, and ``report`` counts and prints the results.
"""
