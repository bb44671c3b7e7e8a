"""All that it has is in its registry.yaml."""
