"""It has forgotten to ship its registry.yaml."""
