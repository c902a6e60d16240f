"""Panels of the dock widget "U-Net annotator": they forward intent and show state."""
