"""Numbers that the official DINOv2 code gives, and the weights and inputs that it was given."""
