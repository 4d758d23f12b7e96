"""Whether the p-values of random claims follow the laws that they are computed by, for every form of reading."""

from bench.null_laws.counts import RATES, Counted, comparisons, count_form, excesses, family_limit, heaviest, pooled
from bench.null_laws.forms import LAWS, STATISTICS, Form, all_forms
from bench.null_laws.trial import Trial, make_trial

__all__ = [
    "LAWS",
    "RATES",
    "STATISTICS",
    "Counted",
    "Form",
    "Trial",
    "all_forms",
    "comparisons",
    "count_form",
    "excesses",
    "family_limit",
    "heaviest",
    "make_trial",
    "pooled",
]
