"""What a run leans on: settings, state, checkpoints, processes, several runs, and trained networks in use."""
