"""Which source a study's page depends on: the definitions that its module names, and what it takes by name.

Schemes and attacks are taken by their names in text (see `bench.support.fingerprint`), so those count whose names
stand in the study's own modules, or all where it walks through the registry. Readers and readers of data sets all
count, where any is reached. A study that runs the command line as a program depends on all of its modules.
"""

import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache

import cwwm.cli
from bench.attacks import ATTACKS
from bench.data import DATASETS
from bench.support.fingerprint import STOPS, Fingerprints, root
from bench.support.modules import OURS, Modules
from cwwm.readers import READERS
from cwwm.schemes import SCHEMES

_OWN = ("bench.studies.", "bench.null_laws.")


@cache
def study_source(study: str) -> str:
    """Return the digest of what a study's page depends on, 32 hex digits; LookupError if there is no such study."""
    prints = running()
    return prints.of(study_roots(study, prints))


@cache
def running() -> Fingerprints:
    """Return the fingerprints of the source that runs."""
    return Fingerprints(Modules())


def study_roots(study: str, prints: Fingerprints) -> list[str]:
    """Return the definitions that a study's page follows from; `prints` says of which checkout."""
    start = f"bench.studies.{study}:study"
    own, everywhere = prints.texts([start], _OWN), prints.texts([start])
    found = [
        *_taken(_ours(SCHEMES), own, STOPS["cwwm.schemes.known:SCHEMES"]),
        *_taken(_ours(ATTACKS), own, STOPS["bench.attacks.registry:ATTACKS"]),
    ]
    if STOPS["cwwm.readers:READERS"] in everywhere:
        found += [type(reader) for reader in READERS.values()]
    roots = {start, *map(root, found)}
    if STOPS["bench.data.registry:DATASETS"] in everywhere:
        roots |= {root(source.read) for source in DATASETS.values()}
    if f"str {cwwm.cli.__name__!r}" in own:
        roots |= {place.name for place in pkgutil.iter_modules(cwwm.cli.__path__, f"{cwwm.cli.__name__}.")}
    return sorted(roots)


def _ours(registered: Mapping[str, type]) -> dict[str, type]:
    """Return what comes with this project; plugins make no published page."""
    return {name: kind for name, kind in registered.items() if kind.__module__.partition(".")[0] in OURS}


def _taken(registered: Mapping[str, type], texts: set[str], registry: str) -> Iterable[type]:
    """Return the classes whose names are among texts, or all if the registry itself is."""
    if registry in texts:
        return registered.values()
    return (kind for name, kind in registered.items() if f"str {name!r}" in texts)
