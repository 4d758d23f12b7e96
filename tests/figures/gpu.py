"""What the pages say of runs on a GPU: from the page, the records and the logs of such runs."""

import re

from bench.verification.comparison import reproducible
from tests.figures.registry import claim, holds, word
from tests.figures.sources import records, table, trained, words

PAGE = "docs/offline-host.md"
RUN, SUITE, NIGHT, LOGS = "gpu/README.md", "gpu/suite", "baseline/nightly", "gpu/processes.txt"
_MOMENT = 105  # seconds after the start at which the logs are compared


@claim(PAGE, "All steps were done in {} s, all {} tests passed, and the suite gave {} cells.")
def steps() -> list[str]:
    done = re.search(r": all steps done, (\d+) s in all", words(RUN))
    tests = re.search(r"(\d+) tests, 0 failures, 0 errors, 0 skipped", words(RUN))
    assert done
    assert tests
    return [done[1], tests[1], str(len(records(SUITE)))]


@claim("docs/findings.md", "with {} cells of one encoding")
def cells() -> list[str]:
    holds(len({record.key.scheme for record in records(SUITE)}) == 1, "one encoding")
    return [str(len(records(SUITE)))]


@claim(
    PAGE,
    "The thresholds of 20 pruning rates over {} million weights take {} times as long as a copy of these; masks of "
    "one rate take {} ms, torch's own way {} ms.",
)
def thresholds_and_masks() -> list[str]:
    naive = {row[0]: row for row in table(RUN, "case", "naive")}
    beside = {row[0]: row for row in table(RUN, "case", "beside")}
    (case, masks) = (next(name for name in naive if name.startswith(what)) for what in ("thresholds", "masks"))
    millions = re.search(r"([\d.]+) M$", case)
    assert millions
    ours, torchs = (f"{float(naive[masks][column]):.1f}" for column in (1, 3))
    return [millions[1], f"{float(beside[case][-1]):.1f}", ours, torchs]


@claim(PAGE, "On the same card a nightly run of 200 s made {} cells.")
@claim(PAGE, "The {} are the baseline of suite `nightly`")
@claim("docs/nightly.md", "Its {} cells are the baseline of suite nightly.")
def night() -> list[str]:
    return [str(len(records(NIGHT)))]


@claim(PAGE, "Of the {} cells that both runs made {} are equal bit by bit, at {} strengths.")
def repeated() -> list[str]:
    before, after = ({record.identity: record for record in trained(folder)} for folder in (SUITE, NIGHT))
    both = before.keys() & after.keys()
    equal = [one for one in both if reproducible(before[one]) == reproducible(after[one])]
    return [str(len(both)), str(len(equal)), str(sum(len(before[one].rows) for one in equal))]


@claim("docs/nightly.md", "On a GPU a night repeated bit by bit all readings that it shared with")
def all_repeated() -> list[str]:
    both, equal, _ = repeated()
    holds(both == equal != "0", "all cells of both runs are equal")
    return []


@claim(
    PAGE,
    f"After {_MOMENT} s one process had {{}} cells of its first model and was making its second; four processes "
    "had {} cells, and were making four models",
)
def processes() -> list[str]:
    _, *logs = words(LOGS).split("# ")
    holds(len(logs) == 2, "one log each")
    found = []
    for log in logs:
        states = re.findall(r"\[(\d+)/\d+ (\d+) s\]", log)
        found.append(word(max(int(cells) for cells, seconds in states if int(seconds) <= _MOMENT)))
    return found
