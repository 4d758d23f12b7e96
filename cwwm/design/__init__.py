"""Choosing a code for stated targets from the weights themselves."""

from cwwm.design.plain import Option, plan
from cwwm.design.pool import Pool
from cwwm.design.protected import CARRIERS, Design, Targets, design
from cwwm.design.spread import SpreadPlan, plan_spread

__all__ = ["CARRIERS", "Design", "Option", "Pool", "SpreadPlan", "Targets", "design", "plan", "plan_spread"]
