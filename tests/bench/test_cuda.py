"""What must hold where there is a GPU: the same mark, read alike on both devices. Not yet run on one."""

import numpy as np
import pytest
import torch

from bench.attacks import make_attack
from bench.models.registry import build_model, find_models
from bench.studies.symmetry import ATTACKS, attacker, randomised
from cwwm.ownership.keys import Key, Stream
from cwwm.schemes import SCHEMES, EmbedContext, embed, make_scheme
from cwwm.weights.order_statistics import MagnitudeTable, Rank
from cwwm.weights.view import as_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_extraction_is_equal_on_cpu_and_cuda(name: str) -> None:
    (spec,) = find_models(["test_resnet"])
    model = build_model(spec, 10, 0).cuda()
    key, message = Key.for_harness(test="cuda"), Stream(bytes(32)).bits(256)
    scheme = make_scheme(name, {})
    weights, mark = embed(scheme, as_weights(model), message, key, EmbedContext(device=torch.device("cuda")))
    there = scheme.extract(weights, key, mark)
    here = scheme.extract(as_weights(model.cpu()), key, mark)
    assert there.ok
    assert here.ok
    assert np.array_equal(here.bits, message)
    assert np.array_equal(here.reliabilities, there.reliabilities)


def test_order_statistics_are_equal_on_cpu_and_cuda() -> None:
    tensor = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    questions = [Rank((0,), rank) for rank in (1, 500_000, 900_000, 1_000_000)]
    assert MagnitudeTable([tensor]).kth(questions) == MagnitudeTable([tensor.cuda()]).kth(questions)


@pytest.mark.parametrize(("spec", "strength"), ATTACKS, ids=[" ".join(spec.values()) for spec, _ in ATTACKS])
def test_what_preserves_the_function_does_so_on_cuda_and_makes_the_same_choices(
    spec: dict[str, str], strength: float
) -> None:
    pytest.importorskip("torch_pruning")
    model = randomised("test_resnet")
    here, there = (
        next(make_attack(spec, "test").curve([model.to(device)], [strength], attacker(32, device)))
        for device in (torch.device("cpu"), torch.device("cuda"))
    )
    assert there.achieved["difference"] <= 1e-4
    for key in ("groups", "moved", "layers", "skipped"):
        assert there.achieved[key] == here.achieved[key]
