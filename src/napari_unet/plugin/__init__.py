"""What the user sees: the napari plugin over the same core as the command line."""
