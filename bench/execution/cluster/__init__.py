"""Runs past one machine: a stateless driver, workers on Ray or Slurm, and a folder that all of them share."""
