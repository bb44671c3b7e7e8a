"""Build the documentation site: `make site`. The pages of docs/, and a page of models and layers for each family.

``pages`` collects the Markdown pages and adapts their links, ``models`` writes the tables of models and layers,
``links`` checks the built site, and ``check`` opens it in a real browser (`make site-check`).
"""
