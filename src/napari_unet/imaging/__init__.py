"""What an MRI is: volumes, their grids and files, measurement and clean-up."""
