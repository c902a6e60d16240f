"""The U-Net paper's data."""
