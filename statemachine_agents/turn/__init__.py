"""What comes next: facts in, the next effect out; nothing here waits."""
