"""It claims the namespace of another plugin."""
