"""What a plugin sees: hooks, the task, the synthetic set, its options, artifacts."""
