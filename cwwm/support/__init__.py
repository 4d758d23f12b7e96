"""What the library rests on, and which knows nothing of watermarks."""
