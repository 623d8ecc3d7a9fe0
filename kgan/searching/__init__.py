"""The exact search for the nearest of many images, in a memory that need not hold them."""
