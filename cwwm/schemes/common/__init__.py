"""What schemes share."""
