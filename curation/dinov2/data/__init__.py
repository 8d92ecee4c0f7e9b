"""Reading images and making views of them."""
