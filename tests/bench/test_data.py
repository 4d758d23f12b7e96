"""Data sets: the same everywhere, split without overlap, normalised, and batched by seed and epoch."""

import gzip
import hashlib
import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data import DATASETS, Dataset, Split, digits, load, photo_crops, textures
from bench.data.dataset import PERIOD, shifted
from bench.data.idx import read_idx
from bench.data.photographs import PHOTOGRAPHS, pixels
from bench.data.source import Raw, Request
from bench.data.validation import cut
from cwwm.support.errors import BadInput

torch.set_num_threads(1)

EMBEDDED = [
    # name, size, channels, classes, train, validation, test
    ("digits", 8, 1, 10, 1283, 257, 257),
    ("digits", 12, 3, 10, 1283, 257, 257),
    ("textures", 32, 3, 14, 4200, 560, 1120),
    ("textures", 16, 3, 14, 4200, 560, 1120),
    ("photo-crops", 24, 3, 1000, 0, 0, 1000),
]


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("name", "size", "channels", "classes", "train", "validation", "test"), EMBEDDED)
def test_embedded_sets_have_the_stated_shape(
    name: str, size: int, channels: int, classes: int, train: int, validation: int, test: int
) -> None:
    data = load(name, size=size, channels=channels)
    assert data.name == name
    assert data.classes == classes
    for split, count in ((data.train, train), (data.validation, validation), (data.test, test)):
        assert split.x.shape == (count, channels, size, size)
        assert len(split) == count
        assert split.x.dtype == torch.float32
        assert split.y.dtype == torch.int64
        assert split.x.isfinite().all()


@pytest.mark.parametrize("name", ["digits", "textures"])
def test_training_images_are_normalised_and_every_class_is_in_all_parts(name: str) -> None:
    data = load(name, size=32)
    std, mean = torch.std_mean(data.train.x, dim=(0, 2, 3))
    assert mean.abs().max() < 1e-4
    assert (std - 1).abs().max() < 1e-4
    for split in (data.train, data.validation, data.test):
        counts = split.y.bincount(minlength=data.classes)
        assert counts.min() >= 0.9 * counts.max()


def test_grey_is_repeated_to_three_channels() -> None:
    colour, grey = load("digits", size=8), load("digits", size=8, channels=1)
    assert torch.equal(colour.train.x[:, :1], grey.train.x)
    assert torch.equal(colour.test.x[:, 2:], grey.test.x)


def test_digits_are_split_the_same_for_ever() -> None:
    from sklearn.datasets import load_digits

    folds = digits.folds(load_digits().target.tolist())
    assert {folds.count(fold) for fold in range(7)} == {256, 257}
    assert digest(folds) == "f6ad66ad30340f84"


def pixels_of(*splits: Split) -> list[tuple[list[float], int]]:
    """Return all images of splits as lists of numbers with their labels, in order."""
    pairs = [(split.x.flatten(1).double().tolist(), split.y.tolist()) for split in splits]
    return sorted(pair for images, labels in pairs for pair in zip(images, labels, strict=True))


def test_seeds_in_a_row_test_other_digits_and_validate_on_the_next_ones_until_all_were_tested() -> None:
    from sklearn.datasets import load_digits

    raws = [digits.read(Request(8, Path(), fold=seed)) for seed in range(8)]
    everything = sorted(
        zip(load_digits().images.reshape(-1, 64).tolist(), load_digits().target.tolist(), strict=True)
    )
    for raw, following in pairwise(raws):
        assert raw.validation is not None
        assert pixels_of(raw.validation) == pixels_of(following.test)
        assert raw.train.y.bincount().min() >= 5 * 24
        assert pixels_of(raw.train, raw.validation, raw.test) == everything
    assert pixels_of(*(raw.test for raw in raws[:7])) == everything
    assert pixels_of(raws[7].test) == pixels_of(raws[0].test)


@given(labels=st.lists(st.integers(0, 4), max_size=80))
@settings(max_examples=40, deadline=None)
def test_validation_takes_every_eighth_of_each_class_and_nothing_of_the_others(labels: list[int]) -> None:
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    raw = Raw(Split(images, torch.tensor(labels, dtype=torch.int64)), numbered(3), classes=5)
    train, validation = cut(raw, "any")
    assert sorted(torch.cat([train.x, validation.x]).flatten().tolist()) == list(range(len(labels)))
    for label in range(5):
        assert int((validation.y == label).sum()) == labels.count(label) // PERIOD
    assert all(labels[int(x)] == int(y) for x, y in zip(validation.x, validation.y, strict=True))
    assert torch.equal(cut(raw, "any")[1].x, validation.x)


def test_a_set_too_small_for_a_validation_part_refuses_a_choice_in_one_line(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    data = load("fashion-mnist", size=28, root=tmp_path)
    with pytest.raises(BadInput, match=r"'fashion-mnist' has no validation images.* 8 training images or more"):
        data.to_choose_on()
    assert len(load("digits", size=8).to_choose_on()) == 257


def test_a_published_test_split_is_the_same_for_every_seed(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    found = {load("fashion-mnist", size=28, root=tmp_path, fold=seed).identity for seed in range(3)}
    assert len(found) == 1
    assert len({load("digits", size=8, fold=seed).identity for seed in range(8)}) == 7


def test_texture_patches_of_different_parts_share_no_pixel() -> None:
    for photograph in PHOTOGRAPHS:
        seen = {part: np.zeros(pixels(photograph).shape[:2], bool) for part in textures.PER_CLASS}
        for part, count in textures.PER_CLASS.items():
            corners = textures.patch_corners(photograph, part, count)
            assert len(set(corners)) == count
            for top, left in corners:
                patch = seen[part][top : top + textures.PATCH, left : left + textures.PATCH]
                assert patch.shape == (textures.PATCH, textures.PATCH)
                patch[:] = True
        assert sum(part.astype(int) for part in seen.values()).max() == 1


def test_texture_places_are_the_same_for_ever() -> None:
    corners = [textures.patch_corners(photograph, "test", 5) for photograph in PHOTOGRAPHS]
    assert digest(corners) == "e5c1d049472b029e"


@pytest.mark.parametrize(("height", "width"), [(300, 451), (40, 40), (512, 512)])
def test_photo_crops_lie_inside_and_vary(height: int, width: int) -> None:
    windows = [photo_crops.window(index, height, width) for index in range(300)]
    for top, left, side in windows:
        assert top >= 0
        assert left >= 0
        assert top + side <= height
        assert left + side <= width
        assert side >= min(height, width) // 3
    assert len({side for _, _, side in windows}) > 10


def test_photo_crops_are_normalised_as_the_weights_expect() -> None:
    imagenet, inception = load("photo-crops", size=24), load("photo-crops:inception", size=24)
    assert not imagenet.labelled
    assert imagenet.identity != inception.identity
    mean, std = (torch.tensor(v)[:, None, None] for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    torch.testing.assert_close(imagenet.test.x * std + mean, inception.test.x * 127.5 + 127.5, atol=1e-3, rtol=0)
    assert inception.test.x.abs().max() <= 1


def test_identity_follows_name_and_preprocessing_only() -> None:
    sets = [("digits", 8, 1), ("digits", 8, 3), ("digits", 12, 3), ("textures", 16, 3)]
    identities = [load(name, size=size, channels=channels).identity for name, size, channels in sets]
    assert len(set(identities)) == len(sets)
    assert load("digits", size=8, root=Path("elsewhere")).identity == identities[1]


def test_loading_twice_shares_the_tensors() -> None:
    assert load("digits", size=8).train.x.data_ptr() == load("digits", size=8).train.x.data_ptr()


def numbered(count: int, side: int = 4) -> Split:
    """Images that tell their number in every pixel."""
    numbers = torch.arange(count)
    return Split(numbers.float()[:, None, None, None].expand(-1, 1, side, side), numbers)


@given(count=st.integers(2, 40), size=st.integers(1, 12), seed=st.integers(0, 9), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_batches_show_every_image_once_and_repeat(count: int, size: int, seed: int, epoch: int) -> None:
    split = numbered(count)
    first = list(split.batches(size, seed=seed, epoch=epoch))
    again = list(split.batches(size, seed=seed, epoch=epoch))
    shown = torch.cat([y for _, y in first]).tolist()
    lonely = count % size == 1 or size == 1
    assert len(set(shown)) == len(shown) == count - lonely
    assert all(torch.equal(x[:, 0, 0, 0].long(), y) for x, y in first)
    assert [y.tolist() for _, y in first] == [y.tolist() for _, y in again]


def test_seeds_and_epochs_have_their_own_order_and_augmentation() -> None:
    split = load("digits", size=8).train
    batches = [next(split.batches(64, seed=s, epoch=e, shift=1)) for s, e in ((0, 0), (0, 1), (1, 0))]
    orders = {tuple(y.tolist()) for _, y in batches}
    assert len(orders) == 3
    again, _ = next(split.batches(64, seed=0, epoch=0, shift=1))
    assert torch.equal(again, batches[0][0])


def test_order_does_not_depend_on_augmentation() -> None:
    split = load("digits", size=8).train
    plain = [y for _, y in split.batches(100, seed=3, epoch=1)]
    augmented = [y for _, y in split.batches(100, seed=3, epoch=1, shift=2, flip=True)]
    assert torch.equal(torch.cat(plain), torch.cat(augmented))


def test_an_empty_split_has_no_batches() -> None:
    assert list(load("photo-crops", size=24).train.batches(8, seed=0, epoch=0)) == []


@given(shift=st.integers(0, 3), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_shifted_image_is_a_translated_one(shift: int, data: st.DataObject) -> None:
    x = torch.arange(1.0, 61.0).reshape(1, 3, 4, 5)
    down, right = (data.draw(st.integers(-shift, shift)) for _ in range(2))
    moved = shifted(x, torch.tensor([[shift - down, shift - right]]), shift)
    expected = torch.zeros_like(x)
    for row in range(4):
        for column in range(5):
            if 0 <= row - down < 4 and 0 <= column - right < 5:
                expected[..., row, column] = x[..., row - down, column - right]
    assert torch.equal(moved, expected)


def test_shift_moves_each_image_by_its_own_draw_and_flip_mirrors_half() -> None:
    ramp = torch.arange(25.0).reshape(1, 1, 5, 5).expand(400, 1, 5, 5) + 1
    split = Split(ramp, torch.zeros(400, dtype=torch.int64))
    moved, _ = next(split.batches(400, seed=0, epoch=0, shift=1))
    mirrored, _ = next(split.batches(400, seed=0, epoch=0, flip=True))
    assert len(torch.unique(moved, dim=0)) == 9
    flipped = (mirrored == ramp.flip(3)).flatten(1).all(1)
    assert (flipped | (mirrored == ramp).flatten(1).all(1)).all()
    assert 150 < flipped.sum() < 250


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_fashion_mnist(root: Path, suffix: str = ".gz") -> tuple[np.ndarray, np.ndarray]:
    """Write a tiny Fashion-MNIST in its real format; return its training images and labels."""
    folder = root / "fashion-mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 28, 28)), np.arange(30) % 10
    for part, count in (("train", 30), ("t10k", 10)):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images[:count])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels[:count])
    return images, labels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read_from_idx_files(tmp_path: Path, suffix: str) -> None:
    images, labels = write_fashion_mnist(tmp_path, suffix)
    data = load("fashion-mnist", size=28, channels=1, root=tmp_path)
    assert data.classes == 10
    assert data.train.y.tolist() == labels.tolist()
    assert data.test.x.shape == (10, 1, 28, 28)
    levels = torch.from_numpy(images).float()
    torch.testing.assert_close(data.train.x[:, 0], (levels - levels.mean()) / levels.std(), atol=1e-4, rtol=0)


def test_other_content_is_another_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        write_fashion_mnist(tmp_path / name)
    labels = tmp_path / "b" / "fashion-mnist" / "train-labels-idx1-ubyte.gz"
    write_idx(labels, (np.arange(30) + 1) % 10)
    sets = [load("fashion-mnist", size=28, root=tmp_path / name) for name in ("a", "b")]
    assert sets[0].identity != sets[1].identity


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x0d\x01",
        b"\x00\x00\x08\x03\x00",
        b"\x00\x00\x08\x01\x00\x00\x00\x05abc",
        b"\x1f\x8bgarbage",
    ],
)
def test_a_damaged_idx_file_is_one_line_that_names_it(tmp_path: Path, content: bytes) -> None:
    name = "x.gz" if content.startswith(b"\x1f\x8b") else "x"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=str(tmp_path)) as caught:
        read_idx(tmp_path, "x")
    assert "\n" not in str(caught.value)


def write_photographs(root: Path, sizes: dict[str, tuple[int, int]]) -> None:
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color=(200, 100, 50)).save(path)


def test_an_image_folder_is_read_resized_and_limited(tmp_path: Path) -> None:
    shapes = {
        f"{part}/{name}/{i}.png": (20 + i, 30) for part in ("train", "val") for name in "ab" for i in range(4)
    }
    write_photographs(tmp_path, shapes)
    whole, limited = (load(f"imagefolder:{tmp_path}{limit}", size=16) for limit in ("", ":1"))
    assert whole.train.x.shape == (8, 3, 16, 16)
    assert whole.test.y.tolist() == [0] * 4 + [1] * 4
    assert limited.train.y.tolist() == [0, 1]
    assert whole.identity != limited.identity
    expected = (torch.tensor([200, 100, 50]) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
        [58.395, 57.12, 57.375]
    )
    torch.testing.assert_close(whole.test.x.mean((0, 2, 3)), expected)


def bad_folder(root: Path) -> str:
    write_photographs(root, {"train/a/0.png": (8, 8), "val/b/0.png": (8, 8)})
    return f"imagefolder:{root}"


def test_folders_with_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="same class folders"):
        load(bad_folder(tmp_path), size=8)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "did you mean digits"),
        ("digits:3", "takes nothing after a colon"),
        ("photo-crops:incepton", "did you mean inception"),
        ("imagefolder", "imagefolder:PATH"),
        ("imagefolder:/nowhere", "/nowhere/train is not a folder"),
    ],
)
def test_bad_names_are_one_line_that_helps(name: str, hint: str) -> None:
    with pytest.raises(BadInput, match=hint) as caught:
        load(name, size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "flowers102"])
def test_missing_data_without_a_network_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: refused at once
    with pytest.raises(BadInput, match=f"'{name}' is not on this machine.*network") as caught:
        load(name, size=8, root=tmp_path)
    assert "\n" not in str(caught.value)


def test_wrong_size_and_channels_are_refused() -> None:
    with pytest.raises(BadInput, match="size 0"):
        load("digits", size=0)
    with pytest.raises(BadInput, match="3 channels"):
        load("textures", size=32, channels=1)


def test_every_source_says_in_one_line_what_it_is() -> None:
    for source in DATASETS.values():
        assert 20 < len(source.about) < 120
        assert "\n" not in source.about


def test_a_data_set_moves_as_a_whole() -> None:
    moved: Dataset = load("digits", size=8).to("meta")
    splits = (moved.train, moved.validation, moved.test)
    assert {part.device.type for split in splits for part in (split.x, split.y)} == {"meta"}
    assert moved.identity == load("digits", size=8).identity
