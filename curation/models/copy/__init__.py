"""Copy descriptors: the networks, the descriptors by name, and the training of the small one."""
