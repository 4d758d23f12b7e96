"""Where too few channels are left to be told by their weights, what they answer brings the message back."""

from pathlib import Path

import pytest
import torch

from bench.attacks import make_attack
from bench.execution.attacker import attacker_context
from bench.execution.model_factory import ModelFactory
from bench.execution.owner import marked_copy
from bench.suite import load_suite
from bench.suite.expand import cells
from bench.support.artifact_store import ArtefactStore
from bench.support.environment import prepare
from cwwm.alignment import AlignedWeights, Responses, align, record_responses
from cwwm.schemes.common.keyed import hidden_hosts
from cwwm.weights.view import as_weights

ATTACK = {
    "name": "then",
    "first": {"name": "then", "first": {"name": "permute"}, "second": {"name": "structured-removed"},
              "second_strength": 0.6},
    "second": {"name": "finetune", "epochs": 5},
}  # fmt: skip


@pytest.mark.slow
def test_after_sixty_percent_of_the_channels_were_removed(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    factory = ModelFactory(ArtefactStore(tmp_path), cpu)
    todo = cells(load_suite("systems"), prepare(cpu, 1))
    cell = next(cell for cell in todo if cell.mark.scheme.label == "protected-cwc aligned")
    marked, context = factory.marked(cell.mark), attacker_context(cell.host, cell.attack, factory, None)
    suspect = next(make_attack(ATTACK, "test").curve([marked.model], [1.0], context)).model
    owner = marked_copy(marked)
    hidden = hidden_hosts(marked.key, marked.mark, marked.scheme.hosts)
    assert not align(owner, as_weights(suspect), hidden).accepted
    images = context.data.train.x[:256]
    responses = Responses(record_responses(marked.model, images), record_responses(suspect, images))
    alignment = align(owner, as_weights(suspect), hidden, responses)
    assert alignment.score > 0.9
    view = AlignedWeights(owner, as_weights(suspect), alignment)
    found = marked.scheme.extract(view, marked.key, marked.mark)
    assert found.ok
    assert (found.bits == marked.message).all()
