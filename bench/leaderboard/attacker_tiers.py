"""The names of the tiers of attackers, from what costs nothing to what takes all data and a whole training."""

FREE, WEIGHTS, SMALL, FULL = TIERS = (0, 1, 2, 3)
LASTS = (WEIGHTS, SMALL, FULL)  # the last tier of each panel of curves
