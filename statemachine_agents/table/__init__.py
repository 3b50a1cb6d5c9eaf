"""What a workflow is: text and values."""
