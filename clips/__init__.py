"""What a recorded clip is, in NumPy alone: the h5, skeletons, units, and the readers of recordings."""
