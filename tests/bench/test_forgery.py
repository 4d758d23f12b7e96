"""A forged claim fits perfectly and is not proven."""

import numpy as np
import torch

from bench.forgery import ExtractThenClaim, verdict_on
from cwwm.keys import Key
from cwwm.schemes import EmbedContext, embed, make_scheme
from cwwm.weights import as_weights


def test_extract_then_claim_matches_perfectly_and_is_never_proven() -> None:
    torch.manual_seed(0)
    weights = as_weights({"a.weight": torch.randn(200, 300)})
    scheme = make_scheme("cwc", {"payload_bits": 64})
    _, mark = embed(scheme, weights, np.ones(64, np.uint8), Key.for_harness(owner=1), EmbedContext())
    claims = list(ExtractThenClaim(mark=mark).claims(weights, 40))
    assert claims
    for claim in claims:
        fixed = verdict_on(claim, weights, committed=True, tried=40)
        forged = verdict_on(claim, weights, committed=False, tried=40)
        assert fixed.log10_p < -6  # the numbers alone would convince
        assert not forged.proven
        assert forged.reason == "not proven: no prior commitment"
