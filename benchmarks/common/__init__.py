"""What the measurements share: scans, methods, options, scores, reports."""
