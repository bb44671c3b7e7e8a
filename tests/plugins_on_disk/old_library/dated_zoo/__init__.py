"""It works, and asks for a later release of a library than there is."""
