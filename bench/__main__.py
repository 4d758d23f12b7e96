"""Lets `python -m bench` be `cwwm-bench`."""

from bench.cli.app import main

main()
