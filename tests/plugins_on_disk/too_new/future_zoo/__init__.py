"""It was made for a later layerzoo."""
