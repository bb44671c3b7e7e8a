"""Long work as named jobs in separate processes, each result stored at once."""
