"""The index: store what the files declare, search it, and resolve models with their bases."""
