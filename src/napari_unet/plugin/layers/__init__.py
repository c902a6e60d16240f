"""What napari layers mean here: their metadata, places, reader, writer and samples."""
