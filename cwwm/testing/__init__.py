"""The contract of a scheme as a test that its author can call: `check_scheme`."""

from cwwm.testing.rules import BrokenRule, Rule, require
from cwwm.testing.scheme import SCHEME_RULES, check_scheme, scheme_rules
from cwwm.testing.subject import Subject

__all__ = ["SCHEME_RULES", "BrokenRule", "Rule", "Subject", "check_scheme", "require", "scheme_rules"]
