"""The shell door: ``napari-unet``, a module a command."""
