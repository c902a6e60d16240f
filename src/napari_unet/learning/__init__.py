"""What the U-Net knows: network, training, inference and the model file.

Importing this package, `config` or `events` does not import torch; the
modules that compute do.
"""
