"""The command line cwwm."""
