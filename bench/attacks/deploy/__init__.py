"""Deployment: what is done to a network that is shipped, all of which leaves its answers as they were."""

from bench.attacks.deploy.attack import Deployment

__all__ = ["Deployment"]
