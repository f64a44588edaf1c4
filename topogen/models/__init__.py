"""What is fitted to points: manifolds, charts on them, and distributions."""
