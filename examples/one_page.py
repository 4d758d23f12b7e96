"""Train a small network, mark it, prune it, read the mark, and prove whose it is: `python examples/one_page.py`."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import prune

from cwwm import Key, embed, extract, make_scheme, verify
from cwwm.ownership.message import bits_to_text

torch.manual_seed(0)
torch.set_num_threads(1)
MESSAGE = "this network is mine"

# ----------------------------------------------- a network that reads digits, trained in a few seconds

digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
y = torch.tensor(digits.target)
test = torch.arange(len(x)) % 4 == 0

model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
    nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10),
)  # fmt: skip


def train(network: nn.Module, epochs: int, lr: float) -> None:
    """Train in place, on three digits of four."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(int((~test).sum())).split(64):
            loss = nn.functional.cross_entropy(network(x[~test][batch]), y[~test][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(network: nn.Module) -> str:
    """Return the share of the other digits that are named right."""
    with torch.no_grad():
        right = network.eval()(x[test]).argmax(1) == y[test]
    return f"{100 * right.float().mean():.1f} %"


train(model, epochs=8, lr=2e-3)
original = copy.deepcopy(model)
print("accuracy unmarked:", accuracy(model))

# --------------------------- the owner marks it: the message is in which weights are large; few change

key = Key.generate()  # a secret: key.save(path) writes it, readable by its owner alone
scheme = make_scheme("protected-cwc", {"payload_bits": 8 * len(MESSAGE), "blocks": 80, "block_length": 128})
_, mark, commitment = embed(scheme, model, MESSAGE, key)  # keep the mark, publish the commitment, then the model
print("accuracy marked:", accuracy(model))
print("weights touched:", f"{mark.report['touched']:,} of {mark.report['pool']:,}")

# --------------------------------------- somebody takes it, removes 80 % of its weights and fine-tunes

stolen = copy.deepcopy(model)
layers = [(layer, "weight") for layer in stolen if isinstance(layer, (nn.Conv2d, nn.Linear))]
prune.global_unstructured(layers, prune.L1Unstructured, amount=0.8)
train(stolen, epochs=1, lr=1e-4)
for layer, name in layers:
    prune.remove(layer, name)
print("accuracy pruned:", accuracy(stolen))

# ---------------------------------------------------- the owner reads it, and proves it before a judge

print("read from the pruned model:", bits_to_text(extract(stolen, key, mark).bits))
found = verify(stolen, key, mark, MESSAGE, commitment=commitment, original=original)
print("verdict:", found.verdict.reason)
print("on the unmarked model:", verify(original, key, mark, MESSAGE, commitment=commitment).verdict.reason)
