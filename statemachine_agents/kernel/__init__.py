"""What a workflow does: one event in, one step out."""
