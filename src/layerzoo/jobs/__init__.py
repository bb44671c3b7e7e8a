"""Long work in named pieces: in processes of their own, each result kept the moment it is known."""
