"""Detectors of what an image shows: bodies (NudeNet), faces (CenterFace), and classifiers by name."""
