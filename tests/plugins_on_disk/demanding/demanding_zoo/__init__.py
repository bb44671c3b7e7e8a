"""It requires a later layerzoo."""
