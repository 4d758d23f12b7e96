"""Records of results: what they hold, and where they are kept."""
