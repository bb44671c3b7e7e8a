"""Its namespace has a capital letter."""
