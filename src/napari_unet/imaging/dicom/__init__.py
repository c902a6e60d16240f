"""DICOM: series as volumes, and segmentations read and written."""
