"""The application without widgets: annotator, sessions, work in the background."""
