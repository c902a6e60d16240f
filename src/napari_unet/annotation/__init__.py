"""What the human said: slice states, where each voxel comes from, what to look at next."""
