"""The page on today's attacks: exact ones apart, costs in shares of the host's training, refusals with reasons."""

import torch

from bench.attacks import make_attack
from bench.models.registry import HostRecipe
from bench.studies.todays_attacks import EXACT, NETWORKS, OTHERS, Outcome, page, training_steps
from cwwm.training import Recipe


def test_every_attack_of_the_study_takes_its_strength() -> None:
    for spec, strength in [*EXACT, *OTHERS]:
        make_attack(spec, "test").check_strength(strength)


def test_steps_are_those_of_both_phases_of_a_host() -> None:
    recipe = HostRecipe(mark=Recipe(epochs=2, batch_size=32), train=Recipe(epochs=3, batch_size=64))
    assert training_steps(recipe, 100) == 2 * 4 + 3 * 2
    assert training_steps(HostRecipe(mark=Recipe(epochs=2, batch_size=32)), 100) == 2 * 4


def test_the_page_parts_exact_attacks_from_others_and_tells_refusals() -> None:
    exact = [Outcome(name, "rotate 4", 1e-7 * number, 0.0, 0.0, 0.0) for number, name in enumerate(NETWORKS)]
    others = [Outcome(name, "lora 4", 0.5, 1.25, 1.0, 0.5) for name in NETWORKS[:2]]
    refused = Outcome(NETWORKS[2], "lora 4", refusal="it has no layer")
    first, second, last = page([*exact, *others, refused], torch.device("cpu")).split("\n## ")[1:]
    assert "largest of all is\n2.0e-07" in first
    assert "rotate 4" in first
    assert "rotate 4" not in second
    line = next(line for line in second.splitlines() if line.startswith("| lora 4"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["1.2", "1.2", "-", "100%, 50%"]
    assert "it has no layer" in last
    assert "refused" not in page(exact, torch.device("cpu"))
