"""What a run did: facts, folds, judgements."""
