"""Attacks that weigh each weight by what its layer reads, or what its gradient says, on the attacker's own data."""
