"""The U-Net, the sizes of its layers, its packaged weights, and the model file."""
