"""Choosing a code for stated targets from the weights themselves."""

from cwwm.design.plain import Option, plan
from cwwm.design.pool import Pool
from cwwm.design.protected import CARRIERS, Design, Targets, design

__all__ = ["CARRIERS", "Design", "Option", "Pool", "Targets", "design", "plan"]
