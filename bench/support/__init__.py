"""What every part of the bench stands on: how files are read, and how what they hold is checked."""
