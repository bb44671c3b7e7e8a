"""Where its registry.yaml is."""
