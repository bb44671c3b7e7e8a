"""It claims the namespace of the user's own models."""
