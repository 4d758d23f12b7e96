"""What is measured on models and marks."""
