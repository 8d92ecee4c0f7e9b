"""EfficientNet-Lite0: one look at an image gives its copy descriptor, its concept embedding and what it may show."""
