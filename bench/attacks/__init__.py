"""Attacks: one file a family, one registry."""

from bench.attacks.base import Attack, AttackContext, Attacked, Cost, Then
from bench.attacks.registry import ATTACKS, make_attack

__all__ = ["ATTACKS", "Attack", "AttackContext", "Attacked", "Cost", "Then", "make_attack"]
