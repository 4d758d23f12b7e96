"""The channels of a network: which belong together, and in what order they stand."""
