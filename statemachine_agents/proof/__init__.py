"""Whether a table is right."""
