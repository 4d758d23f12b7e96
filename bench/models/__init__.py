"""Which networks there are, and how they are built."""
