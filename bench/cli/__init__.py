"""The command line cwwm-bench."""
