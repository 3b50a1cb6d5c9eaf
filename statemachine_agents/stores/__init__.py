"""The code that keeps journals."""
