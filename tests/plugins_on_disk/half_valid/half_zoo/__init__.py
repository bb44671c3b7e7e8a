"""Its second model is misspelt."""
