"""What `aoft-bench select` writes, when it keeps what is there, and the lines with which it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from omegaconf import OmegaConf
from tuning_records import World, record

from aoft_bench.tuning.hparams import set_file

ROOT = Path(__file__).resolve().parents[2]

TEXT = """\
# @package _global_
# Chosen on val200 for lora on digits by aoft_bench.select; used by
#   python -m aoft_bench method=lora dataset=digits hparams=tuned
# setting: backbone vit_nano (weights aaaaaaaaaaaa), 32 px bicubic, normalization 0.5±0.5, fp32, 10 epochs, \
data dddddddddddd
# tuned: recipe.lr; the other values are those of the same runs
# val200 top-1 in % of 200 images, mean ± standard deviation over seeds 0, 1; > is taken
#   recipe.lr=0.001: 80.00 ± 7.07, n=2, 24,576 trained
# > recipe.lr=0.003: 82.75 ± 3.89, n=2, 24,576 trained
# not in the running, since runs of some seeds are missing or failed:
#   recipe.lr=0.01: 95.00, n=1, 24,576 trained, seed 0 only
# code: commit c0ffee; commit c0ffee, changed since
# the run of seed 0 of what is taken:
#   python -m aoft_bench method=lora recipe.lr=0.003 seed=0
# sha256 of all other lines: 90dffd4c9b358eb9f4167f963edd0279a4f723526a23928885e82bcde9c74f07
method:
  rank: 8
  alpha: 8.0
  targets: [q, v]
recipe:
  epochs: 10
  batch_size: 32
  lr: 0.003
  weight_decay: 0.0001
  warmup_epochs: null
"""


@pytest.fixture
def world(tmp_path: Path, cli: Command) -> World:
    return World(tmp_path, cli)


def test_the_same_records_give_the_same_bytes_in_every_version(world: World) -> None:
    """The evidence, then every value of the chosen runs, also of those that were not tuned, without the row's label."""
    world.add(record(1e-3, 150), record(1e-3, 170, seed=1))
    world.add(record(3e-3, 160, git__dirty=True), record(3e-3, 171, seed=1), record(1e-2, 190))
    world.chosen()
    assert world.file().read_text("utf-8") == TEXT


def test_files_that_select_wrote_are_recognised(world: World) -> None:
    """Those in conf/ are refused as being of another setting, not as edited or written by hand."""
    world.add(record(1e-3, 150))
    world.file().parent.mkdir(parents=True)
    paths = sorted((ROOT / "conf/hparams/embedded").rglob("*.yaml"))
    assert len(paths) >= 32
    for path in paths:
        shutil.copy(path, world.file())
        assert "holds the choice for another setting" in world.refused(), path


def test_nothing_of_an_edited_record_becomes_yaml(world: World) -> None:
    """Each would stand in the file as it is; a line break would end a comment, and Hydra would start what follows."""
    hydra = "x\nhydra:\n  callbacks: {mine: {_target_: os.abort}}\n#"
    recipe = record(2e-3, 199)["config"]["recipe"]
    hostile: list[tuple[dict[str, Any], str]] = [
        ({"git__commit": hydra}, "which is not one line of text"),
        ({"precision": hydra.replace("\n", "\u2028")}, "which is not one line of text"),
        ({"config__data__interpolation": hydra.replace("\n", "\x85")}, "which is not one line of text"),
        ({"config__recipe": recipe | {hydra: 1}}, "which is not one line of text"),
        ({"config__recipe": recipe | {"lr: 1 #": 1}}, "unknown option of recipe 'lr: 1 #'"),
        ({"config__recipe": recipe | {"weight_decay": "${oc.env:HOME}"}}, "must be a number"),
        ({"config__method": {"name": "lora", "rank": "${oc.env:HOME}"}}, "which is no option of a method"),
        ({"config__method": {"name": "lora", "o": [{"_target_": "os.abort"}]}}, "which is no option of a method"),
        ({"config__method": {"name": "lora", "a: 1 #": 1}}, "which is no option of a method"),
    ]
    world.add(record(1e-3, 150, command="python -m aoft_bench method=lora; touch pwned"))
    alone = world.select()
    text = world.file().read_text("utf-8")
    assert "#   unknown\n" in text and "touch" not in text
    paths = world.add(*(record(2e-3, 199, seed=seed, **changes) for seed, (changes, _) in enumerate(hostile)))
    done = world.select()
    assert (done.code, done.out) == (0, alone.out)
    left_out = done.err.splitlines()
    assert len(left_out) == len(hostile)
    for path, (_, why) in zip(paths, hostile, strict=True):
        (line,) = [line for line in left_out if f"/{path.name}: " in line]
        assert why in line
    assert world.file().read_text("utf-8") == text


def test_a_small_rate_is_read_as_a_number(world: World) -> None:
    world.add(record(1e-7, 150))
    assert world.chosen().recipe.lr == 1e-7


def test_a_row_without_a_file_of_its_own_is_asked_for_by_name(world: World) -> None:
    """peft_oft is a row of method=peft: hparams=tuned would look for tuned/peft."""
    world.add(record(1e-3, 150, method="peft_oft", config__method__name="peft"))
    assert world.select().code == 0
    asked = "#   python -m aoft_bench method=peft dataset=digits hparams=tuned/peft_oft/digits\n"
    assert asked in world.file("peft_oft").read_text("utf-8")


def test_new_evidence_replaces_the_file(world: World) -> None:
    world.add(record(1e-3, 150))
    assert world.chosen().recipe.lr == 1e-3
    world.add(record(3e-3, 160))
    assert world.chosen().recipe.lr == 3e-3


@pytest.mark.parametrize(
    ("where", "instead"), [("the only setting: 75.00", "the only setting: 95.00"), ("lr: 0.001", "lr: 1")]
)
def test_an_edited_file_is_kept(world: World, where: str, instead: str) -> None:
    world.add(record(1e-3, 150))
    world.chosen()
    text = world.file().read_text("utf-8")
    assert where in text
    world.file().write_text(text.replace(where, instead), "utf-8")
    line = world.refused()
    assert "digits.yaml was edited since aoft-bench select wrote it" in line and "--force" in line
    assert "was edited since" in world.refused("--dry-run")
    assert world.chosen("--force").recipe.lr == 1e-3
    assert world.file().read_text("utf-8") == text


def test_a_file_of_another_hand_is_kept_and_so_is_every_other(world: World) -> None:
    world.add(record(1e-3, 150), record(1e-3, 150, dataset="svhn"))
    world.file(dataset="svhn").parent.mkdir(parents=True)
    world.file(dataset="svhn").write_text("# @package _global_\nrecipe:\n  lr: 1.0\n")
    assert "svhn.yaml was not written by aoft-bench select" in world.refused()
    assert not world.file().exists()


def test_a_dry_run_writes_nothing(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160))
    done = world.select("--dry-run")
    assert done.code == 0
    assert "lora · digits · vit_nano: recipe.lr=0.003, val200 top-1 80.00 %, the best of 2, seed 0" in done.out
    assert "1 file would be written from 2 tuning records" in done.out
    assert not world.conf.exists()


def test_a_file_that_comes_first_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra looks into conf/ before the folder of -cd."""
    world.add(record(1e-3, 150))
    world.chosen()
    monkeypatch.setattr("aoft_bench.cli.select.conf_dir", lambda: world.conf)
    done = world.select("--conf", "other")
    assert f"{world.file()} exists too, and hparams=tuned takes that one first" in done.out
    assert "exists too" not in world.select("--conf", "mine").out


def test_only_what_is_asked_for(world: World) -> None:
    for method in ("lora", "adapter"):
        for dataset in ("digits", "svhn"):
            world.add(record(1e-3, 150, method=method, dataset=dataset))
    assert world.select("--methods", "lora", "--datasets", "svhn,digits").code == 0
    assert {path.relative_to(world.conf).as_posix() for path in world.conf.rglob("*.yaml")} == {
        "hparams/tuned/lora/digits.yaml",
        "hparams/tuned/lora/svhn.yaml",
    }


def test_a_set_of_its_own_keeps_the_choice_for_another_setting(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, config__recipe__epochs=100))
    assert world.chosen("--epochs", "10").recipe.lr == 1e-3
    line = world.refused("--epochs", "100")
    assert "holds the choice for another setting" in line and "--as NAME" in line
    assert world.select("--epochs", "100", "--as", "long").code == 0
    ((path, text),) = set_file(world.conf, "long").items()
    assert path.read_text("utf-8") == text
    path.write_text(text.replace("or take", "or perhaps take"))  # as a version before might have worded it
    assert world.select("--epochs", "100", "--as", "long").code == 0
    assert path.read_text("utf-8") == text
    assert OmegaConf.load(world.file(name="long")).recipe.lr == 3e-3
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    header = world.file(name="long").read_text("utf-8").splitlines()
    assert header[2] == "#   python -m aoft_bench method=lora dataset=digits hparams=long"


def test_the_set_that_comes_with_conf_is_as_select_writes_it() -> None:
    for path, text in set_file(ROOT / "conf", "embedded").items():
        assert path.read_text("utf-8") == text


@pytest.mark.parametrize("name", ["none", "aoft"])
def test_a_name_that_conf_gives_to_something_else(world: World, name: str) -> None:
    world.add(record(1e-3, 150))
    shutil.copytree(ROOT / "conf/hparams", world.conf / "hparams")
    assert "is no set that aoft-bench select made; give another name" in world.refused("--as", name)


# what a user gets wrong


def test_nothing_there(world: World) -> None:
    line = world.refused()
    assert "no tuning records below results/tuning/records (none at all)" in line
    assert "python -m aoft_bench -cd sweeps -cn tune" in line


def test_no_tuning_records(world: World) -> None:
    world.add(record(1e-3, 150, protocol__name="clean"))
    assert "(1 of other protocols, which are not read)" in world.refused()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--methods lorra", "unknown method 'lorra' (did you mean 'lora'?); allowed: lora, adapter"),
        ("--datasets digitz", "unknown dataset 'digitz' (did you mean 'digits'?); allowed: digits, svhn"),
        ("--methods adapter --datasets digits", "unknown dataset 'digits'; allowed: svhn"),
        ("--epochs 11", "unknown epochs '11'"),
        ("--backbone vit_nani", "unknown backbone 'vit_nani' (did you mean 'vit_nano'?)"),
        ("--as ../lora", "--as takes a name of letters, digits and _, not '../lora'"),
        ("--fast", "unrecognized arguments: --fast; see aoft-bench select --help"),
        ("--epochs", "expected one argument"),
    ],
)
def test_wrong_words(world: World, given: str, expected: str) -> None:
    world.add(record(1e-3, 150), record(1e-3, 150, method="adapter", dataset="svhn"))
    assert expected in world.refused(*given.split())


def test_a_folder_that_cannot_be_written(world: World) -> None:
    world.add(record(1e-3, 150))
    (world.root / "file").write_text("no folder")
    line = world.refused("--conf", "file/conf")
    assert "cannot write settings to file/conf/hparams/tuned/lora" in line and "--conf DIR" in line


def test_a_folder_in_the_place_of_the_file(world: World) -> None:
    world.add(record(1e-3, 150))
    world.file().mkdir(parents=True)
    assert "cannot read mine/hparams/tuned/lora/digits.yaml" in world.refused()
