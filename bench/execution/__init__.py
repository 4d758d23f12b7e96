"""How cells are run: models are made, attacked, read, and recorded."""
