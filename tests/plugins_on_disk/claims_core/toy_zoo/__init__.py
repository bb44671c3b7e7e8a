"""It claims the namespace of layerzoo itself."""
