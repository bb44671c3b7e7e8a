"""Its registry.yaml is cut off."""
