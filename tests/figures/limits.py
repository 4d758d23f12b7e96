"""What README and docs say is not measured: from all committed records."""

from tests.figures.registry import claim, holds
from tests.figures.sources import folders, records, trained

FINDINGS, ENCODINGS = "docs/findings.md", "docs/encodings.md"


@claim("README.md", "Boards are of small networks, all but one of them on a CPU;")
@claim(FINDINGS, "Every committed board but that of suite `alignment` is of a CPU.")
def on_a_cpu() -> list[str]:
    others = {folder for folder in folders() for record in records(folder) if record.environment.device != "cpu"}
    holds(others == {"alignment"}, f"one board has cells of a GPU: {others}")
    return []


@claim(FINDINGS, "Hosts of both pilots are small networks that tell digits.")
def small_hosts() -> list[str]:
    hosts = [
        record.recipe.host.model for pilot in ("systems-pilot", "encodings-pilot") for record in trained(pilot)
    ]
    holds({host.data for host in hosts} == {"digits"}, "all tell digits")
    holds(all(host.name.startswith("test_") for host in hosts), "all are timm's small test networks")
    return []


@claim(ENCODINGS, "and `split-layers`, of which there is no committed result yet,")
def never_run() -> list[str]:
    attacks = {record.key.attack for folder in folders() for record in records(folder)}
    holds(not any("split-layers" in attack for attack in attacks), "no record is of it")
    return []
