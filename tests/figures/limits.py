"""What README and docs say is not measured: from all committed records."""

from tests.figures.registry import claim, holds
from tests.figures.sources import RESULTS, folders, records, trained

FINDINGS, ENCODINGS = "docs/findings.md", "docs/encodings.md"


@claim(
    "README.md",
    "Boards are of small networks and made on a CPU, but for one board and {} of the {} cells of another;",
)
@claim(
    FINDINGS,
    "Every committed board but that of suite `alignment`, and {} of the {} cells of `compression-reach`, "
    "is of a CPU.",
)
def on_a_cpu() -> list[str]:
    cells = {folder: [record.environment.device for record in records(folder)] for folder in folders()}
    others = {folder for folder, devices in cells.items() if set(devices) != {"cpu"}}
    holds(others == {"alignment", "compression-reach"}, f"two boards have cells of a GPU: {others}")
    holds(set(cells["alignment"]) == {"cuda"}, "one of them no others")
    pages = {page.name for page in RESULTS.glob("*.md") if "NVIDIA" in page.read_text()} - {"README.md"}
    holds(pages == {"compression.md", "distillation.md"}, f"one study is of a GPU alone: {pages}")
    reach = cells["compression-reach"]
    return [str(reach.count("cuda")), str(len(reach))]


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
