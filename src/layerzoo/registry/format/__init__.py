"""The format: what a registry file may say, how it is checked, and what is compiled from it."""
