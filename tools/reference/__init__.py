"""Generate docs/reference from the source: the Python API, the command line, registry.yaml, errors and JSON."""
