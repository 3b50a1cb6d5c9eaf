"""Doorbells that wake runs."""
