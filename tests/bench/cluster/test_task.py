"""A cell that went to a worker as JSON is the cell that the driver has, for every suite."""

import json
from itertools import groupby

import pytest
import torch

from bench.cli.options import chosen_suite
from bench.execution.cluster.task import Answer, Place, Request, cell_of
from bench.suite.expand import cells
from bench.support.environment import prepare


@pytest.mark.parametrize("name", ["smoke", "zoo", "readings", "alignment", "full", "nightly-cpu"])
def test_a_cell_is_rebuilt_from_its_recipe(name: str) -> None:
    runtime = prepare(torch.device("cpu"), 1)
    todo = cells(chosen_suite(name, None, None, None, 1), json.loads(json.dumps(runtime)))
    groups = {mark: list(own) for mark, own in groupby(todo, lambda cell: cell.mark.identity)}
    for own in list(groups.values())[:: max(1, len(groups) // 4)]:
        before = {cell.identity: None for cell in own}
        request = Request.parse(Request.of(Place(shared="/a"), own, before, 0.5).text())
        assert (request.before, request.share) == (before, 0.5)
        rebuilt = [cell_of(request.mark, cell, runtime) for cell in request.cells]
        assert [cell.identity for cell in rebuilt] == [cell.identity for cell in own]
        assert [cell.recipe for cell in rebuilt] == [cell.recipe for cell in own]
        assert [(cell.key, cell.readings) for cell in rebuilt] == [(cell.key, cell.readings) for cell in own]


def test_an_answer_is_what_it_was() -> None:
    answer = Answer("done", (("0f", "ok", "1e"),), "text")
    assert Answer.parse(answer.to_text()) == answer
