"""`--images` and `--network`: photographs measure what answers feel, and what cannot be measured is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cwwm.ownership.keys import Key
from cwwm.probing import probe
from cwwm.support import torchvision_shim
from cwwm.support.console import BAD_INPUT, DONE
from cwwm.weights.checkpoint import open_weights
from tests.cwwm.owner_commands import CLAIM, EMBED, EXTRACT, ORIGINAL, TEXT, as_json, refused, run, said

torchvision_shim.install()
timm = pytest.importorskip("timm")
image = pytest.importorskip("PIL.Image")

PLAN = ("plan", "model.safetensors", "--payload-bits", "128")
MARK = (*EMBED, "--payload-bits", "128")
SEEN = ("--images", "photographs", "--network", "test_resnet")


def _photograph(path: Path, number: int) -> None:
    """Write a picture of smooth colours with an edge: 96 x 96."""
    generator = np.random.default_rng(number)
    coarse = image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((96, 96), image.Resampling.BICUBIC)).copy()
    pixels[:, int(generator.integers(20, 70)) :] //= 2
    image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a network of timm, four photographs and a key, once; return the folder."""
    folder = tmp_path_factory.mktemp("made")
    Key(bytes(range(32))).save(folder / "owner.key")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=10, zero_init_last=False)
    save_file(network.state_dict(), folder / "model.safetensors", {"format": "pt"})
    (folder / "photographs" / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.JPG", "below/c.bmp", "d.jpeg")):
        _photograph(folder / "photographs" / name, number)
    (folder / "photographs" / "notes.txt").write_text("no photograph")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a copy of that folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_photographs_buy_gain_at_a_known_price(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone, asked = as_json(capsys, *PLAN), as_json(capsys, *PLAN, *SEEN)
    assert asked["gain"] > 2 * alone["gain"]
    assert asked["felt"] <= 4e-4 * (1 + 1e-6)
    assert alone["felt"] is None
    assert all(more["snr2"] >= less["snr2"] for more, less in zip(asked["stands"], alone["stands"], strict=True))
    assert "squared change of the logits" in said(capsys, *PLAN, *SEEN)


def test_what_was_measured_is_marked_recovered_and_proven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, *PLAN, *SEEN)
    report = as_json(capsys, *MARK, *SEEN)["report"]
    assert report["relative_gain"] == plan["gain"]
    assert report["least_gain"] < report["most_gain"]
    assert as_json(capsys, *EXTRACT, *ORIGINAL)["text"] == TEXT
    assert as_json(capsys, *CLAIM, *ORIGINAL)["proven"]


def test_the_measure_is_the_same_each_time_and_leaves_the_checkpoint(folder: Path) -> None:
    before = Path("model.safetensors").read_bytes()
    first, again = (
        probe(open_weights(Path("model.safetensors")), "test_resnet", Path("photographs"), "wide") for _ in range(2)
    )
    assert first == again
    assert all(value > 0 for value in first.values())
    assert Path("model.safetensors").read_bytes() == before


def test_layers_named_by_a_setting_are_the_ones_that_are_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_option = as_json(capsys, *MARK, *SEEN, "--carrier", "all")["report"]
    by_setting = as_json(capsys, *MARK, *SEEN, "--force", "--set", "carrier=all")["report"]
    assert by_option == pytest.approx(by_setting, rel=1e-3)  # chips are another draw


def _nothing() -> None:
    """Spoil nothing."""


def _unreadable(data: bytes) -> Callable[[], object]:
    return lambda: Path("photographs/a.png").write_bytes(data)


def _cut_short() -> None:
    path = Path("photographs/a.png")
    path.write_bytes(path.read_bytes()[:-200])


def _a_layer_too_many() -> None:
    state = load_file("model.safetensors")
    save_file(state | {"extra.weight": torch.ones(64, 64)}, "model.safetensors")


def _prefixed() -> None:
    save_file({f"module.{n}": t for n, t in load_file("model.safetensors").items()}, "model.safetensors")


def _endless() -> None:
    state = load_file("model.safetensors")
    name = next(name for name in state if name.endswith("running_mean"))
    save_file(state | {name: torch.full_like(state[name], torch.nan)}, "model.safetensors")


def _with(**changes: str) -> tuple[str, ...]:
    options = {"images": "photographs", "network": "test_resnet"} | changes
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))


BAD: dict[str, tuple[Callable[[], object], tuple[str, ...], str]] = {
    "no network": (_nothing, SEEN[:2], "--images and --network go together"),
    "no images": (_nothing, SEEN[2:], "--images and --network go together"),
    "empty folder": (lambda: Path("empty").mkdir(), _with(images="empty"), "empty holds no photograph"),
    "no folder": (_nothing, _with(images="absent"), "absent is not a folder"),
    "a file for a folder": (_nothing, _with(images="owner.key"), "owner.key is not a folder"),
    "unknown network": (_nothing, _with(network="test_resnot"), "timm has no network 'test_resnot'"),
    "another network": (_nothing, _with(network="test_vit"), "the checkpoint is not of network 'test_vit'"),
    "a wider network": (_nothing, _with(network="resnet18"), "the checkpoint is not of network 'resnet18'"),
    "prefixed names": (_prefixed, SEEN, "the checkpoint is not of network 'test_resnet': it has no"),
    "a layer too many": (_a_layer_too_many, SEEN, "'test_resnet', which has no extra.weight"),
    "text for an image": (_unreadable(b"text"), SEEN, "a.png is not an image that can be read"),
    "nothing for an image": (_unreadable(b""), SEEN, "a.png is not an image that can be read"),
    "an image cut short": (_cut_short, SEEN, "a.png is not an image that can be read"),
    "answers without end": (_endless, SEEN, "answers that are not finite"),
    "a code on magnitudes": (_nothing, (*SEEN, "--scheme", "protected-cwc"), "which protected-cwc has none of"),
}


@pytest.mark.parametrize("command", [PLAN, MARK], ids=["plan", "embed"])
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_refused_in_one_line(
    case: str, command: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, options, named = BAD[case]
    refused(folder, capsys, (spoil, (*command, *options), named))


def test_signs_have_no_gains_to_measure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*EMBED, "--scheme", "sign", *SEEN) == BAD_INPUT
    assert "which sign has none of" in capsys.readouterr().err
    assert run(*EMBED, "--scheme", "spread-spectrum", "--set", "per=channel", "--set", "gain=0.1", *SEEN) == DONE
