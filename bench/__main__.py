"""Lets `python -m bench` be `cwwm-bench`."""

from bench.cli import main

main()
