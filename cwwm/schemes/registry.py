"""The schemes that come with this package: every module of it is looked through."""

from collections.abc import Mapping

from cwwm.schemes.base import Scheme
from cwwm.support.discovery import discover

BUILT_IN: Mapping[str, type[Scheme]] = discover("cwwm.schemes", Scheme)
