"""What the parts of the laboratory rest on, and which knows none of them."""
