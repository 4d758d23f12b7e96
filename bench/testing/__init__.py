"""The contract of an attack as a test that its author can call: `check_attack`."""

from bench.testing.attack import ATTACK_RULES, check_attack
from bench.testing.subject import AttackSubject, network
from cwwm.testing import BrokenRule, Rule

__all__ = ["ATTACK_RULES", "AttackSubject", "BrokenRule", "Rule", "check_attack", "network"]
