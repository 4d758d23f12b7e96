"""Numbers that are no measurements: parameters, definitions, versions, sources. Each rule says why."""

import re

from tests.figures.text import Statement

#: what numbers are wherever they stand
EVERYWHERE = (
    r"arXiv \d{4}\.\d{5}|\(\d{4}\.\d{5}\)|\(arXiv [\d., ]+\)|`, \d{4}\.\d{5}\)",  # papers by number
    r"\(\w+ \d{4}(?:, \w+ \d{4})*\)|20\d\d-\d\d-\d\d",  # papers by year, dates
    r"S\(\d\)|tiers? \d(?:(?: to|,| and) \d)*|tiers \d, \d",  # names of the board: its losses and tiers
    r"\b1e-(?:3|6|12|15)\b(?! takes)|p = 0\.001|0\.001\b|p-?value of 1e",  # rates at which a proof is asked for
    r"log10|x86-64|LeNet-5|Apache-2\.0|\d+x\d+ branch",  # names
    r"95 %|\b0 if|exits? with \d|exit code (?:is )?\d|, \d if something did, \d if cells",  # intervals, codes
    r"(?:Python|CPython|torch|torchvision|timm|numpy|NumPy|scipy|matplotlib|typer|tabulate|pydantic|scikit-learn|gmpy2"
    r"|reedsolo|scikit-image|Torch-Pruning|setuptools|since|CUDA) \d[\d.]*",  # versions
    r"^\d\. |^\d\.$",  # of a list
    r"(?<!of )\b\d[\d,]* bits\b|\d+-bit\b",  # payloads and widths, which suites set
)

#: sections and tables that define or invent, and tell of no run
SECTIONS = (
    ("docs/encodings.md", "The encodings"),  # parameters of schemes
    ("docs/leaderboard.md", "Who attacks"),  # tiers
    ("docs/leaderboard.md", "Two boards"),
    ("docs/leaderboard.md", "Ranking"),  # columns
    ("docs/leaderboard.md", "Median removal loss"),  # examples of cells
    ("docs/leaderboard.md", "From three records to a rank"),  # invented; tests/bench/test_worked_example.py runs it
    ("docs/leaderboard.md", "Law and measurement"),
    ("docs/leaderboard.md", "Detection"),
    ("docs/leaderboard.md", "True positives by attack"),
    ("docs/leaderboard.md", "Detectability"),
    ("docs/leaderboard.md", "Architectures"),
    ("docs/leaderboard.md", "The pictures"),
    ("docs/leaderboard.md", "The CSV"),
    ("docs/leaderboard.md", "Capacity of the channel"),
    ("docs/concepts.md", "Pruning as a channel"),  # formulas
    ("docs/concepts.md", "The p-value"),  # distributions; what it says of sizes is claimed in laws.py
)

#: single numbers by page and words: what we set, ask for or write as a formula
PARAMETERS = (
    ("docs/findings.md", "at 2.5 to 5 times its rate"),  # strengths of an attack
    ("docs/findings.md", "With tier 3,"),
    ("docs/encodings.md", "2:4 by magnitude"),
    ("docs/concepts.md", "with probability 1 - R,"),
    ("docs/concepts.md", "about (1-R)^"),
    ("docs/concepts.md", "2 × errors + erasures"),
    ("docs/concepts.md", "up to 12 combinations"),  # bench.suite.entries.MOST_COMBINATIONS
    ("docs/leaderboard.md", "near 0 and near chance"),  # in words, of a shape
    ("docs/leaderboard.md", "at least 0 |"),
    ("docs/nightly.md", "5 % of the budget"),  # bench.regression.nightly.FOR_TABLES
    ("docs/nightly.md", "in 30 days"),
    ("docs/nightly.md", "1 / C(2n, n)"),
    ("docs/nightly.md", "above 1.05"),  # of a bound that decides
    ("docs/threat-model.md", "m tries find 1/m"),
    ("docs/threat-model.md", "p above 0.01"),  # cwwm.ownership.verification.INNOCENT
    ("docs/threat-model.md", "a nonce of 128 bits"),
)


def defined(statement: Statement, span: tuple[int, int]) -> bool:
    """Say whether a number is no measurement."""
    if (statement.page, statement.heading) in SECTIONS:
        return True
    own = tuple(words for page, words in PARAMETERS if page == statement.page)
    patterns = (*EVERYWHERE, *map(re.escape, own))
    return any(
        match.start() <= span[0] and span[1] <= match.end()
        for pattern in patterns
        for match in re.finditer(pattern, statement.text)
    )
