"""A plugin with a network of timm, declared in registry.yaml only."""
