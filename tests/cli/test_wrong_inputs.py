"""Mistakes of a user: one line says what was wrong, given and allowed; exit code 2; no file is left half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Result, call, words
from packs import make_images, make_pack, make_table, rows_of, set_line

from aoft_bench import data
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.records.files import predictions_path

ROOT = Path(__file__).resolve().parents[2]


class World:
    """What a case starts from: a folder, a valid pack, and the options of a cell that would run on it."""

    def __init__(self, root: Path, nano: dict[str, str], patch: pytest.MonkeyPatch, record: Path) -> None:
        self.root, self.patch, self.trained = root, patch, record
        self.pack = make_pack(root / "pack")
        self.options = nano | {
            "dataset": "folder",
            "method": "linear",
            "data.root": "pack",
            "data.cache": "cache",
            "results.root": "results",
        }

    def prepared(self) -> PreparedTask:
        """The pack's cache, made."""
        return prepare(data.task("folder"), Locations(self.root / "cache", self.pack), image_size=32)

    def record(self) -> Path:
        """A copy of a true record and its parameters, to be damaged."""
        folder = self.root / "kept" / "records"
        folder.mkdir(parents=True)
        for path in (self.trained, self.trained.with_suffix(".safetensors"), predictions_path(self.trained)):
            shutil.copy(path, folder)
        return folder / self.trained.name

    def weights(self) -> Path:
        """A copy of the network's weights, to be damaged."""
        from aoft_bench.backbones.weights import NANO_WEIGHTS

        given = self.options.get("backbone.checkpoint", str(NANO_WEIGHTS))
        return Path(shutil.copy(given, self.root / "mine.safetensors"))


Case = Callable[[World], list[str]]
CASES: list[tuple[str, str, Case, tuple[str, ...]]] = []


def case(name: str, *expected: str, command: str = "run") -> Callable[[Case], Case]:
    """Add a case whose arguments come from a function, which may break something first."""

    def add(make: Case) -> Case:
        CASES.append((name, command, make, expected))
        return make

    return add


def wrong(name: str, line: str, *expected: str) -> None:
    """Add a case that changes options of the valid cell; words that are no name=value come first, as they are."""

    def make(world: World) -> list[str]:
        given = line.split()
        plain = [w for w in given if w.startswith("-") or "=" not in w or w.startswith("=")]
        changes = dict(w.split("=", 1) for w in given if w not in plain)
        return plain + words(world.options | changes)

    CASES.append((name, "run", make, expected))


# names
wrong("unknown method", "method=lorra", "unknown method 'lorra' (did you mean 'lora'?)", "allowed: lora, rlrr", "list")
wrong("unknown dataset", "dataset=cifar10", "unknown dataset 'cifar10' (did you mean 'cifar100'?)", "list datasets")
wrong("unknown backbone", "backbone=vit_b16", "unknown backbone 'vit_b16' (did you mean 'vit_b16_in21k'?)")
wrong("unknown protocol", "protocol=cleen", "unknown protocol 'cleen' (did you mean 'clean'?)", "literature, tune")
wrong("unknown trainer", "trainer=gpu", "unknown trainer 'gpu'", "auto", "cpu")
wrong("unknown logger", "logger=tensorboard", "unknown logger 'tensorboard'", "none, wandb")
wrong("unknown experiment", "experiment=nothing", "unknown experiment 'nothing'")
wrong("null group", "dataset=null", "unknown dataset 'None'", "digits")
wrong("unknown hparams", "hparams=ssf/cifar10", "unknown hparams 'ssf/cifar10' (did you mean 'ssf/cifar100'?)")
wrong("unknown section", "recpie.lr=1", "unknown section 'recpie' (did you mean 'recipe'?)")
wrong("unknown name", "sed=1", "unknown name 'sed' (did you mean 'seed'?)")
wrong("peft's tuner", "method=peft name=oft", "unknown name 'name'; the tuner of peft is chosen by method.tuner=oft")
wrong(
    "a value of a file that was not named",
    "method=lora recipe.min_lr=1",
    "recipe.lr: got 0.001, must not be below recipe.min_lr (1)",
    "(recipe.lr is from conf/method/lora.yaml)",
)
wrong("typo in an option", "recipe.lrr=1", "unknown option of recipe 'lrr' (did you mean 'lr'?)", "allowed: lr")
wrong("unknown method option", "method=lora method.rnk=2", "method lora 'rnk' (did you mean 'rank'?)", "alpha, targets")
wrong("option of a method without", "method=linear method.rank=2", "method linear 'rank'", "it has no options")
wrong("unknown -cn", "-cn confg", "unknown configuration (-cn) 'confg' (did you mean 'config'?)")
wrong("a sweep without its folder", "-cn fgvc", "unknown configuration (-cn) 'fgvc'", "as in -cd sweeps -cn fgvc")
wrong("missing -cd", "-cd nowhere -cn x", "-cd nowhere: no such folder", "sweeps/")
wrong("unknown flag", "--fast", "--fast", "python -m aoft_bench --help")
wrong("interpolation", "recipe.lr=${nothing}", "'nothing' not found")
# values
wrong("wrong type", "recipe.epochs=ten", "recipe.epochs: got 'ten', must be an integer")
wrong("not a boolean", "dry_run=maybe", "dry_run: got 'maybe', must be true or false")
wrong("unknown predictions", "results.predictions=all", "results.predictions: got 'all'", "top", "logits", "none")
wrong("unknown choice", "results.mode=froce", "results.mode: got 'froce'", "(did you mean 'force'?)", "only-cached")
wrong("negative rate", "recipe.lr=-1e-3", "recipe.lr: got -0.001, must be above 0")
wrong("infinite rate", "recipe.lr=inf", "recipe.lr: got inf, give a finite number")
wrong("negative seed", "seed=-1", "seed: got -1, must be at least 0")
wrong("zero epochs", "recipe.epochs=0", "recipe.epochs: got 0, must be at least 1")
wrong(
    "long warm-up", "recipe.epochs=3 recipe.warmup_epochs=5", "recipe.warmup_epochs: got 5 of 3 epochs, must be fewer"
)
wrong("rate below min_lr", "recipe.lr=1e-9", "recipe.lr: got 1e-09", "must not be below recipe.min_lr (1e-08)")
wrong("drop path 1.5", "recipe.drop_path=1.5", "recipe.drop_path: got 1.5, must be below 1")
wrong("rank above width", "method=lora method.rank=500", "rank is too large: got 500", "give 1 to 128")
ANY = "give all, last:N (the last N), or numbers from 0, rising, as in [10,11]"
for _given in ("last:0", "last:x", "[3,3]", "[-1]"):
    wrong(f"blocks {_given}", f"method=lora method.blocks={_given}", "method.blocks: got ", ANY)
wrong(
    "more blocks than there are",
    "method=lora method.blocks=last:99",
    "method.blocks is too large: got last:99, the backbone has 6 blocks; give last:1 to last:6, or all",
)
wrong("a block beyond the last", "method=aoft method.blocks=[4,6]", "got [4, 6], the backbone has 6", "from 0 to 5")
wrong("more trained blocks than there are", "method=partial method.blocks=7", "method.blocks is too large: got 7")
wrong("blocks of a probe", "method.blocks=last:2", "got 'last:2', but a linear probe trains nothing in the blocks")
wrong("a ladder with a gap", "method=lst method.blocks=[1,3]", "lst goes from each block to the next", "all or last:N")
wrong("prompts with a gap", "method=vpt_shallow method.blocks=[1,3]", "vpt_shallow goes from each", "without a gap")
wrong("a negative budget", "trainer.frozen_cache_gib=-1", "trainer.frozen_cache_gib: got -1, must be at least 0")
wrong("unknown use of a cache", "trainer.frozen_cache=share", "'share' (did you mean 'shared'?)", "auto, off")
wrong("rank 0", "method=aoft method.rank=0", "method.rank: got 0, must be at least 1")
wrong("a bypass above width", "method=res_tuning method.bottleneck=129", "bottleneck is too large: got 129", "1 to 128")
wrong("a trunk above width", "method=dtl method.rank=129", "method.rank is too large: got 129", "give 1 to 128")
wrong("a ladder above width", "method=lst method.reduction=0.5", "method.reduction: got 0.5, must be an integer")
wrong("no target", "method=aoft method.targets=[]", "method.targets: got [], must have at least 1")
wrong("unknown target", "method=aoft method.targets=[q,w]", "unknown value 'w'", "allowed: fc1, fc2, k, proj, q, v")
wrong("target twice", "method=aoft method.targets=[q,q]", "method.targets: got ['q', 'q'], each may be named once")
wrong("no value", "recipe.lr", "cannot read the argument 'recipe.lr'", "give name=value")
wrong("malformed value", "recipe.lr=[1", "cannot read the argument 'recipe.lr=[1'", "give name=value")
wrong(
    "beyond the memory", "method=dtl method.fusion=1000000000", "fusion=1000000000 asks for more memory than there is"
)
wrong("an empty range", "seed=range(3,1)", "cannot sweep over 'seed=range(3,1)'", "it has no values")
wrong("an endless range", "seed=range(0,1e12)", "more than 100,000 values")
wrong("a batch no record holds", "recipe.batch_size=1000000001", "recipe.batch_size: got 1000000001, must be at most")
wrong("too many threads", "trainer.threads=2147483648", "trainer.threads: got 2147483648, must be at most 1024")
wrong(
    "too many processes",
    "trainer.devices=99999",
    "trainer.devices=99999",
    "cores for processes on the CPU; give at most",
)
wrong(
    "an empty file name", "backbone.checkpoint=", "backbone.checkpoint: got '', give a value, or leave the option out"
)
wrong(
    "no such published row", "results.reproduces=vtab_rlr", "(results.reproduces) 'vtab_rlr' (did you mean 'vtab_rlrr'"
)
wrong(
    "a sweep's published row", f"-cd {ROOT}/sweeps -cn reproduce_vtab_rlrr results.reproduces=x", "published row", "'x'"
)
wrong(
    "warm-up and cool-down", "recipe.epochs=9 recipe.cooldown_epochs=9", "cooldown_epochs: got 9 and 0 of warm-up in 9"
)
wrong("unknown schedule", "recipe.schedule=epochs", "recipe.schedule: got 'epochs'", "(did you mean 'epoch'?)")
wrong("an empty folder name", "results.root=", "results.root: got '', give a value")
wrong("a value that is due", "results.root=???", "results.root: got '???'", "give it")
wrong("a number for a folder", "results.root=2024", "results.root: got 2024, must be a text; quotes make one")
wrong("a long name", f"data.root={'x' * 300}", "has a part of 300 bytes, a name on a disk has at most 255")
wrong("a long number", f"seed={'1' * 5000}", "cannot read the argument 'seed=1111", "give name=value")
wrong("half a character", "data.root=p\udce4ck", r"cannot read the argument 'data.root=p\udce4ck'", "UTF-8")
wrong("a name out of ASCII", "data.root=päck", "data.root=päck does not exist")
wrong("no such home", "data.root=~nosuchuser/x", "data.root=~nosuchuser/x: ~nosuchuser has no home folder here")
# what Hydra would take
wrong("--resolve alone", "--resolve", "got --resolve, which goes with --cfg job")
wrong("an unknown package", "--cfg job -p recpie", "unknown package (-p) 'recpie' (did you mean 'recipe'?)")
wrong("a pickled run", "--experimental-rerun x", "unrecognized arguments: --experimental-rerun")
wrong("a search path", "hydra.searchpath=[nosuch://x]", "hydra.searchpath is not searched", "by -cd")
wrong("an empty sweep folder", "-m hydra.sweep.dir= seed=0,1", "hydra.sweep.dir: got ''")
wrong(
    "run in a file",
    "hydra.run.dir=pack/test.txt",
    "the system refused",
    "pack/test.txt'",
    "give another file or folder",
)
wrong(
    "sweep in a file", "-m hydra.sweep.dir=pack/test.txt seed=0,1", "cannot write the notes of a sweep to pack/test.txt"
)
wrong("sweep in /proc", "-m hydra.sweep.dir=/proc/x seed=0,1", "to /proc/x: No such file", "hydra.sweep.dir=DIR")
wrong(
    "several problems at once",
    "method=lorra recipe.lr=-1 recipe.epochs=0 sed=1",
    "4 problems\n  1. ",
    "unknown method 'lorra'",
    "recipe.lr: got -1",
    "recipe.epochs: got 0",
    "unknown name 'sed'",
)


# the data commands
def asked(name: str, command: str, line: str, *expected: str) -> None:
    """Add a case of arguments of another command."""
    CASES.append((name, command, lambda world: line.split(), expected))


asked("prepare: which dataset", "prepare", "dataset=", "which dataset? give dataset=<cifar100|")
asked("prepare: only settings", "prepare", "data.cache=cache", "which dataset?")
asked("prepare: a bare name", "prepare", "svhn", "cannot read the argument 'svhn'", "as in dataset=svhn")
asked("prepare: a flag", "prepare", "-x dataset=digits", "cannot read the argument '-x'", "name=value")
asked(
    "prepare: no such task",
    "prepare",
    "dataset=digits,dgits",
    "unknown dataset or suite 'dgits'",
    "mean 'digits'",
    "all",
)
asked(
    "prepare: no such option", "prepare", "dataset=digits data.cach=x", "unknown option of data 'cach'", "mean 'cache'"
)
asked(
    "prepare: no TensorFlow",
    "prepare",
    "dataset=svhn",
    "no data for svhn",
    "needs TensorFlow",
    "pip install -e",
    "pack",
)
asked(
    "prepare: FGVC by TF's bilinear",
    "prepare",
    "dataset=cub data.interpolation=bilinear_tf",
    "bilinear_tf is not defined",
)
asked("prepare: fetch", "prepare", "dataset=svhn fetch=pubic", "unknown value of fetch 'pubic'", "allowed: public")
asked("prepare: a folder named by nothing", "prepare", "dataset=digits data.cache=", "data.cache: got ''")
asked("export: an empty format", "export", "dataset=digits format= out=o", "unknown format ''", "allowed: folder")
asked(
    "export: no such home", "export", "dataset=digits out=~nosuchuser/o", "out=~nosuchuser/o: ~nosuchuser has no home"
)
asked("tables: a long name", "tables", "x" * 300, "the system refused 'xxx", "File name too long")
asked(
    "analyze: a long name",
    "analyze",
    f"backbone=vit_nano backbone.name={'x' * 300}",
    "backbone.name: got 'xxx",
    "at most 255",
)
asked("evaluate: the record last", "evaluate", "data.root=pack gone.json", "no record gone.json")
asked("evaluate: no record at all", "evaluate", "data.root=pack", "no record data.root=pack")
asked("export-model: the record last", "export-model", "out=o gone.json", "no record gone.json")
asked("export-model: where to", "export-model", "record.json", "where to? give out=<folder>")
asked("export-model: format", "export-model", "r.json out=o format=tim", "unknown format 'tim' (did you mean 'timm'?)")
asked("export-model: no record", "export-model", "gone.json out=o", "no record gone.json")
asked("export-model: option", "export-model", "r.json to=o", "unknown change 'to'", "allowed: ", "out")
asked("export-model: twice", "export-model", "r.json out=o out=p", "out= is given twice")
asked("predict: no model", "predict", "a.jpg", "which model? give model=DIR")
asked("predict: no images", "predict", "model=gone", "which images? give files")
asked("predict: no such image", "predict", "a.jpg model=gone", "no image a.jpg")
asked("predict: how many", "predict", "a.jpg model=gone top=0", "top: got '0', give a number from 1")
asked("predict: option", "predict", "a.jpg modl=gone", "unknown option 'modl' (did you mean 'model'?)")
asked("forgetting: of what", "analyze", "forgetting probe=digits", "nothing to analyse: give records")
asked("forgetting: no record", "analyze", "forgetting gone.json", "no record gone.json")
asked("doctor: two names", "doctor", "--compare a", "--compare: expected 2 arguments")
asked("export: where to", "export", "dataset=digits", "where to? give out=<folder>")
asked("export: no such format", "export", "dataset=digits format=zip out=o", "unknown format 'zip'", "allowed: folder")
# what is not there, or may not be
wrong("no such pack", "data.root=nowhere", "data.root=nowhere does not exist", "train800.txt")
wrong("no data", "dataset=cifar100 data.root=null", "no data for cifar100", "data/packs", "data.root=<folder>")
wrong("no FGVC set", "dataset=cub data.root=null", "no folder of cub", "data/packs/CUB_200_2011", "train.json")
wrong("no ImageNet", "dataset=imagenet data.root=null", "no folder of imagenet", "data/packs/domainshift", "sketch")
wrong("ImageNet of a pack", "dataset=imagenet data.shots=16", "data.root=pack holds no imagenet", "as their archives")
wrong("FGVC set of a pack", "dataset=cub", "data.root=pack holds no train.json", "CUB_200_2011 or cub", "val.json")
wrong("unknown source", "data.source=tfd", "data.source: got 'tfd'", "did you mean 'tfds'")
wrong("TFDS for one's own", "dataset=digits data.source=tfds data.root=null", "digits: data.source=tfds")
wrong(
    "a pack for a generated task", "dataset=digits", "digits is generated", "data.root=pack cannot act", "leave it out"
)
wrong(
    "TFDS and a pack", "dataset=cifar100 data.source=tfds", "data.source=tfds and data.root=pack contradict each other"
)
wrong("a taken name", "dataset.name=cifar100", "dataset.name=cifar100 is a task of the table", "another name")
wrong("a name that is a path", "dataset.name=../mine", "dataset.name: got '../mine'", "give letters, digits")
wrong("a renamed task", "dataset=digits dataset.name=mine data.root=null", "unknown dataset 'mine'", "dataset=folder")
wrong("a label for a task", "dataset=eurosat data.label=x", "data.label=x is for images of your own", "dataset=folder")
wrong("a label for a pack", "data.label=x", "data.label=x names a column, and data.root=pack has none", "leave it out")
wrong("the hub and a folder", "data.hf=x", "data.hf=x and data.root=pack contradict each other")
wrong("no name on the hub", "data.source=hf data.root=null", "data.source=hf needs data.hf=NAME", "save_to_disk")
wrong("no place", "data.root=null", "dataset=folder needs data.root=", "ImageFolder", ".parquet", "train800.txt")
wrong("an image folder that is a file", "data.source=image_folder data.root=pack/test.txt", "is a file", "a folder")
wrong("no training images", "data.train=0", "data.train: got 0, give all, or a whole number of at least 1")
wrong("half an image", "data.train=1.5", "data.train: got 1.5, give all, or")
wrong("no shots", "data.shots=0", "data.shots: got 0, must be at least 1")
wrong("two numbers of images", "data.train=4 data.shots=1", "data.train=4 and data.shots=1 contradict each other")
wrong("too many images", "data.train=1000", "data.train=1000 needs 800 training images, there are 6", "data.train=all")
wrong("shots of fixed splits", "dataset=digits data.root=null data.shots=1", "digits has fixed splits", "data.shots=1")
wrong(
    "only-cached",
    "results.mode=only-cached",
    "has no record at results/records/vit_nano",
    "results.mode=missing runs it",
)
wrong(
    "too high a rate", "recipe.lr=1e30 recipe.batch_size=2", "training loss is nan", "recipe.lr=1e+30", "a tenth of it"
)
wrong(
    "too high a rate in the only step",
    "recipe.lr=3e37 recipe.batch_size=1000",
    "the logits of 6 of 6 test images are not finite",
    "recipe.lr=3e+37",
    "a tenth of it. No record was written",
)
wrong("the same under tune", "recipe.lr=1e38 recipe.batch_size=1000 protocol=tune", "val200 images are not finite")
wrong(
    "too high a decay",
    "recipe.weight_decay=1e308 recipe.batch_size=1000",
    "after epoch 1, 2 trained tensors hold NaN or infinite values, the first is 'head.weight'",
    "recipe.weight_decay=1e+308",
)
wrong(
    "too high a rate of lambda",
    "method=aoft method.lambda_lr=1e308 recipe.batch_size=1000",
    "trained tensors hold NaN or infinite values",
    "an option of the method",
)
wrong("too high a scale", "method=lora method.alpha=1e38 recipe.batch_size=5", "(of Adam)'", "option of the method")
wrong("no such weights", "backbone.checkpoint=no.npz", "no file no.npz", "give a .npz, .safetensors or .pth file")
wrong(
    "results in a file", "results.root=pack/test.txt/x", "cannot write results to pack/test.txt/x", "results.root=DIR"
)
wrong("results in /proc", "results.root=/proc/x", "cannot write results to /proc/x", "results.root=DIR")
wrong(
    "cache in a file", "data.cache=pack/test.txt/x", "cannot write the cache in pack/test.txt/x", "data.cache=<folder>"
)
wrong("name is no folder", "backbone.name=a/b", "got the name 'a/b'", "use letters")
TAGLESS = "backbone=vit_ti16_file backbone.checkpoint=null"
wrong("tagless timm name", TAGLESS, "'vit_tiny_patch16_224', a name without a tag", "give one of", "augreg_in21k")
TAG = "backbone=vit_b16_in21k backbone.checkpoint=null backbone.timm="
wrong("unknown tag", f"{TAG}vit_base_patch16_224.orig_in22k", "'orig_in22k' (did you mean 'orig_in21k'?)", "allowed:")
wrong("unknown network", f"{TAG}vit_bse_patch16_224.orig_in21k", "unknown timm model", "vit_bse_patch16_224")
BY_NAME = "backbone=timm backbone.checkpoint=null backbone.img_size=64 backbone.timm="
wrong("no network", "backbone=timm backbone.checkpoint=null", "backbone.timm is missing", "backbone.timm=vit_small_")
wrong("typo in a network", f"{BY_NAME}hiera_tny_224.mae", "unknown timm model", "did you mean 'hiera_tiny_224'?")
wrong("weights and none", "backbone.weights=none backbone.checkpoint=mine.pth", "give one of the two")
wrong("kind of pooling", "backbone.pool=cls", "backbone.pool: got 'cls'", "token")
TRY = "backbone.weights=none dry_run=true"
wrong("a size that cannot be", f"{BY_NAME}mvitv2_tiny.fb_in1k {TRY} backbone.img_size=17", "cannot ", "17 px")
wrong(
    "no attention", f"{BY_NAME}convnextv2_atto.fcmae {TRY} method=lora", "ConvNeXtBlock has no attention", "[fc1,fc2]"
)
wrong("image size", "backbone.img_size=30", "backbone.img_size: got 30, must be a multiple of 4")


@case("no CUDA", "trainer.accelerator=cuda: torch sees no CUDA device", "trainer.accelerator=cpu")
def _(world: World) -> list[str]:
    world.patch.setattr("torch.cuda.is_available", lambda: False)
    return words(world.options, trainer__accelerator="cuda")


@case("no list file", "has no val200.txt", "write it")
def _(world: World) -> list[str]:
    (world.pack / "val200.txt").unlink()
    return words(world.options)


@case("missing image", "train800.txt line 2", "'images/train800/000001.png' is not there", "restore it")
def _(world: World) -> list[str]:
    (world.pack / "images/train800/000001.png").unlink()
    return words(world.options)


@case("corrupt image", "images/train800/000001.png", "train800.txt line 2")
def _(world: World) -> list[str]:
    (world.pack / "images/train800/000001.png").write_bytes(b"no image at all")
    return words(world.options)


@case("truncated image", "images/test/000002.png", "test.txt line 3")
def _(world: World) -> list[str]:
    path = world.pack / "images/test/000002.png"
    path.write_bytes(path.read_bytes()[:150])
    return words(world.options)


@case("label out of range", "train800.txt line 1: the label 7 is out of range", "allowed: 0 to 2")
def _(world: World) -> list[str]:
    make_pack(world.pack, class_names=True)
    set_line(world.pack, "train800", 1, "images/train800/000000.png 7")
    return words(world.options)


@case("negative label", "val200.txt line 2: the label -1 is negative", "count from 0")
def _(world: World) -> list[str]:
    set_line(world.pack, "val200", 2, "images/val200/000001.png -1")
    return words(world.options)


@case("label is a word", "train800.txt line 1: the label 'cat' is not an integer", "write 0, 1, 2")
def _(world: World) -> list[str]:
    set_line(world.pack, "train800", 1, "images/train800/000000.png cat")
    return words(world.options)


@case("image outside the pack", "test.txt line 1: '../secret.png' points outside the pack", "relative to it")
def _(world: World) -> list[str]:
    set_line(world.pack, "test", 1, "../secret.png 0")
    return words(world.options)


for method in ("sct", "gps"):
    options = {"method": method}

    @case(
        f"{method}: a class without images",
        f"{method} chooses what it trains by the training images of each class, but 1 of 3 classes have no image in "
        "train800, the first is class 1; add images of it, or leave the class out",
    )
    def _(world: World, options: dict[str, str] = options) -> list[str]:
        path = world.pack / "train800.txt"  # val200 has images of it
        path.write_text(path.read_text().replace(" 1\n", " 2\n"))
        return words(world.options | options, protocol="tune")


wrong(
    "prompts without tokens",
    "dry_run=true dataset=digits method=vpt_deep backbone=vit_ti16_file backbone.timm=gmlp_ti16_224 "
    "backbone.img_size=32 backbone.checkpoint=mine.safetensors",
    "cannot adapt a MlpMixer: it has no transformer blocks",
)


@case("empty split", "val200.txt lists no images", "write one")
def _(world: World) -> list[str]:
    (world.pack / "val200.txt").write_text("\n")
    return words(world.options)


@case("test image in training", "images/test/000000.png is listed twice", "train800.txt line 1", "test.txt line 1")
def _(world: World) -> list[str]:
    set_line(world.pack, "train800", 1, "images/test/000000.png 0")
    return words(world.options)


@case("wrong class count", "classes.txt names 11 classes but eurosat has 10", "dataset=folder")
def _(world: World) -> list[str]:
    (world.pack / "classes.txt").write_text("".join(f"c{i}\n" for i in range(11)))
    return words(world.options, dataset="eurosat")


def _own(world: World, spoil: Callable[[Path], object]) -> list[str]:
    """The valid cell on an ImageFolder in which something is spoilt."""
    spoil(make_images(world.root / "own", splits={"train": 3, "test": 2}))
    return words(world.options, data__root="own")


@case("empty class folder", "the class folder own/train/cow has no image (.jpg", "or remove the folder")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "train/cow").mkdir())


@case("class without training", "own has no image of class 2 (cow) in its folders of training images; add one")
def _(world: World) -> list[str]:
    return _own(world, lambda root: shutil.copytree(root / "test/bee", root / "test/cow"))


@case("one file in two splits", "train/bee/0.png and test/bee/link.png are one file in two splits; keep one")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "test/bee/link.png").symlink_to(root.absolute() / "train/bee/0.png"))


@case("an image of the user's own", "cannot read the image own/test/bee/1.png", "replace the file")
def _(world: World) -> list[str]:
    return _own(world, lambda root: (root / "test/bee/1.png").write_bytes(b"no image at all"))


def _table(world: World, change: Callable[[list[list[str]]], object], columns: str = "path,label,split") -> list[str]:
    """The valid cell on a table whose rows are changed."""
    rows = rows_of(make_images(world.root / "own", splits={"train": 3, "test": 2}))
    change(rows)
    return words(world.options, data__root=str(make_table(world.root / "own", rows, columns).relative_to(world.root)))


@case("table without the column", "own/images.csv has no column 'label'; its columns: lable, ", "data.label=<column>")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: None, "path,lable,split")


@case("table with a path outside", "images.csv line 12: '../x.png' points outside the folder of the table")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows.append(["../x.png", "ant", "train"]))


@case("table with overlapping splits", "line 12: 'train/ant/0.png' is listed twice, first in images.csv line 2; keep")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows.append(["train/ant/0.png", "ant", "test"]))


@case("table with gaps", "has no image of class 1 in rows of train or val", "without gaps")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: [row.__setitem__(1, str(2 * (row[1] == "bee"))) for row in rows])


@case("table with an unknown split", "images.csv line 2: the split 'holdout' is unknown; allowed: train, val, test")
def _(world: World) -> list[str]:
    return _table(world, lambda rows: rows[0].__setitem__(2, "holdout"))


@case("no library datasets", "needs the library datasets, which is not installed; pip install -e '.[hf]'")
def _(world: World) -> list[str]:
    import importlib.util

    given = importlib.util.find_spec
    world.patch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "datasets" else given(name, *a))
    return words(world.options | {"data.hf": "some/name", "data.root": "null"})


@case("truncated weights", "cannot read the weights in mine.safetensors", "fetch the file again")
def _(world: World) -> list[str]:
    path = world.weights()
    path.write_bytes(path.read_bytes()[:5000])
    return words(world.options, backbone__checkpoint=path.name)


class RunsCode:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@case("weights that run code", "cannot read the weights in mine.pth: ", "fetch the file again")
def _(world: World) -> list[str]:
    import torch

    torch.save({"state_dict": RunsCode()}, world.root / "mine.pth")
    return words(world.options, backbone__checkpoint="mine.pth")


@case(
    "folder without weights", "the folder mine has no model.safetensors", "as pytorch_model.bin only", "save it again"
)
def _(world: World) -> list[str]:
    (world.root / "mine").mkdir()
    (world.root / "mine/pytorch_model.bin").touch()
    return words(world.options, backbone__checkpoint="mine")


@case("folder of another model", "mine/config.json: model_type is 'beit', and only vit, dinov2,", "give one of those")
def _(world: World) -> list[str]:
    import torch
    from safetensors.torch import save_file

    (world.root / "mine").mkdir()
    (world.root / "mine/config.json").write_text('{"model_type": "beit"}')
    tensors = {"beit.embeddings.patch_embeddings.projection.weight": torch.zeros(1)}
    save_file(tensors, world.root / "mine/model.safetensors")
    return words(world.options, backbone__checkpoint="mine")


@case("weights of another network", "holds weights of another network", "'blocks.", "choose the backbone")
def _(world: World) -> list[str]:
    options = {"backbone": "vit_ti16_file", "backbone.img_size": "32", "backbone.checkpoint": world.weights().name}
    return words(world.options | options)


def _with_tensor(world: World, change: Callable[[Any], Any]) -> list[str]:
    """The valid cell with weights in which one tensor is changed."""
    from safetensors.torch import load_file, save_file

    path = world.weights()
    tensors = load_file(path)
    save_file(tensors | {"norm.weight": change(tensors["norm.weight"])}, path)
    return words(world.options, backbone__checkpoint=path.name)


@case("weights with NaN", "mine.safetensors hold NaN or infinite values, the first is 'norm.weight'", "fetch the file")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: tensor.log().sqrt())


@case("integer weights", "cannot read the weights in mine.safetensors: the tensor 'norm.weight' holds int8")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: tensor.char())


@case("weights that are too large", "loss is nan before the first step: the backbone's weights")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: 3e38 * tensor.sign())


@case("weights that are written meanwhile", "mine.safetensors is not the weight file that is meant", "run again")
def _(world: World) -> list[str]:
    path = world.weights()

    def slow_prepare(*arguments: Any, **options: Any) -> PreparedTask:
        path.write_bytes(path.read_bytes() + b" ")
        return prepare(*arguments, **options)

    world.patch.setattr("aoft_bench.experiments.experiment.prepare", slow_prepare)
    return words(world.options, backbone__checkpoint=path.name)


@case("unfinished is a file", "cannot write results to results/unfinished/vit_nano/linear/folder", "results.root=DIR")
def _(world: World) -> list[str]:
    (world.root / "results").mkdir()
    (world.root / "results/unfinished").write_text("")
    return words(world.options)


@case("corrupt cache", "test.npy is corrupt (its SHA-256 does not match)", "delete cache/folder/", "run again")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "test.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return words(world.options)


@case("truncated cache", "train800.npy is truncated or corrupt", "delete cache/folder/", "run again")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "train800.npy"
    path.write_bytes(path.read_bytes()[:-50])
    return words(world.options)


@case("cache of another task", "meta.json is of another cache (dtd/", "delete cache/folder/")
def _(world: World) -> list[str]:
    mine = world.prepared().directory
    other = prepare(data.task("dtd"), Locations(world.root / "elsewhere", world.pack), image_size=32).directory
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    return words(world.options)


@case("no home", "data.root=~/x: ~ has no home folder here; set HOME, or give the path in full")
def _(world: World) -> list[str]:
    """A user of a container's own, whom nothing describes."""
    world.patch.delenv("HOME")
    world.patch.setattr("pwd.getpwuid", lambda number: {}[number])
    return words(world.options, data__root="~/x")


@case("disk full at a sweep's notes", "cannot write the notes of a sweep to outputs", "the disk is full")
def _(world: World) -> list[str]:
    if not _full_disk(world.root / "outputs"):
        world.patch.setattr("aoft_bench.utils.files.tempfile.NamedTemporaryFile", _raise_full)
    return ["-m", *words(world.options, seed="0,1")]


FILES = {
    "a number": (b"3", "holds no `name: value`"),
    "a list": (b"- a", "must be a DictConfig, got ListConfig"),
    "no YAML": (b"seed: [1", "a configuration file is not YAML"),
    "no UTF-8": (b"seed: \xff", "a configuration file is not UTF-8: mine.yaml"),
    "circular": (b"defaults: [config, mine]", "the configuration has no end"),
    "a section that is a text": (b"defaults: [config, _self_]\nmethod: lora", "method: got 'lora', must be a section"),
    "a list for a number": (b"defaults: [config, _self_]\nseed: [0, 1]", "seed: got [0, 1], must be an integer"),
    "an endless sweep": (
        b"defaults: [config, _self_]\nhydra: {mode: MULTIRUN, sweeper: {params: {recipe.lr: 'interval(0,1)'}}}",
        "cannot sweep over 'recipe.lr=interval(0,1)'",
    ),
}


def _mine(content: bytes) -> Case:
    def make(world: World) -> list[str]:
        (world.root / "mine.yaml").write_bytes(content)
        return ["-cd", ".", "-cn", "mine"]

    return make


for _what, (_content, _said) in FILES.items():
    for _command in ("run", "status"):
        case(f"{_command}: {_what} in a file", _said, command=_command)(_mine(_content))


@case("cache of an older version", "has format version 0, this version reads", "delete cache/folder/")
def _(world: World) -> list[str]:
    path = world.prepared().directory / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    return words(world.options)


@case("disk full at the record", "cannot write", "the disk is full", "results.root=DIR")
def _(world: World) -> list[str]:
    """It becomes full while the cell trains."""
    world.prepared()
    world.patch.setattr("aoft_bench.utils.files.os.fsync", _raise_full)
    return words(world.options)


@case("disk full before", "cannot write results to results/", "the disk is full", "results.root=DIR")
def _(world: World) -> list[str]:
    if not _full_disk(world.root / "results"):
        world.patch.setattr("aoft_bench.utils.files.tempfile.NamedTemporaryFile", _raise_full)
    return words(world.options)


@case("disk full at the cache", "the disk is full", "data.cache=<folder>")
def _(world: World) -> list[str]:
    if not _full_disk(world.root / "cache"):
        world.patch.setattr("aoft_bench.data.write_cache.os.fsync", _raise_full)
    return words(world.options)


@case("evaluate: no record", "no record nowhere.json", "<results>/records/", command="evaluate")
def _(world: World) -> list[str]:
    return ["nowhere.json"]


@case("evaluate: truncated record", "is not a whole record", "run the cell again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.write_text(path.read_text()[:300])
    return [str(path)]


@case("evaluate: other schema", "has schema 99, this version reads 1", command="evaluate")
def _(world: World) -> list[str]:
    return [str(_edited(world.record(), schema=99))]


@case("evaluate: configuration taken out", "config.backbone.img_size is None", "run the cell again", command="evaluate")
def _(world: World) -> list[str]:
    return [str(_edited(world.record(), config=None))]


@case("evaluate: no parameters", ".safetensors is not here", "run it again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return [str(path)]


@case("evaluate: damaged parameters", ".safetensors is damaged", "results.mode=force", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").write_bytes(b"no tensors")
    return [str(path)]


@case("evaluate: truncated predictions", "predictions.npz is not what the run wrote", "again", command="evaluate")
def _(world: World) -> list[str]:
    path = world.record()
    predictions_path(path).write_bytes(predictions_path(path).read_bytes()[:-100])
    return [str(path)]


@case("evaluate: other data", "the data here are not those of the record", "the record has", command="evaluate")
def _(world: World) -> list[str]:
    make_pack(world.pack, seed=1)
    return [str(world.record()), "data.root=pack", "data.cache=cache"]


@case("evaluate: unknown change", "unknown change 'data.rot' (did you mean 'data.root'?)", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "data.rot=x"]


@case("evaluate: wrong change", "trainer.threads: got 'many', must be an integer", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "trainer.threads=many"]


@case("evaluate: a digit that is no number", "trainer.threads: got '²', must be an integer", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "trainer.threads=²"]


@case("evaluate: alpha above 1", "alpha: got '1.5', give numbers from 0", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "alpha=0,1.5"]


@case("evaluate: alpha that is no number", "alpha: got 'nan', give numbers from 0", command="evaluate")
def _(world: World) -> list[str]:
    return [str(world.record()), "alpha=nan"]


@case("export-model: no parameters", ".safetensors is not here", "run it again", command="export-model")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return [str(path), "out=made"]


@case("export-model: no update", "format=peft: linear is not a low-rank update", "format=timm", command="export-model")
def _(world: World) -> list[str]:
    return [str(world.record()), "out=made", "format=peft"]


@case("forgetting: no parameters", ".safetensors is not here", "run it again", command="analyze")
def _(world: World) -> list[str]:
    path = world.record()
    path.with_suffix(".safetensors").unlink()
    return ["forgetting", str(path)]


@case("forgetting: no such probe", "unknown dataset 'cifar10' (did you mean 'cifar100'?)", command="analyze")
def _(world: World) -> list[str]:
    return ["forgetting", str(world.record()), "probe=cifar10"]


@case("predict: an empty folder", "no images in nothing; known endings: .avif", command="predict")
def _(world: World) -> list[str]:
    (world.root / "nothing").mkdir()
    return ["nothing", "model=gone"]


@case("predict: no image", "cannot read the image empty.png", "or leave it out", command="predict")
def _(world: World) -> list[str]:
    """A network is read first, so one is exported."""
    assert call("export-model", str(world.record()), "out=made", cwd=world.root).code == 0
    (world.root / "empty.png").touch()
    return ["empty.png", "model=made"]


@case("tables: no records", "no records below nowhere/records", "run a cell first", command="tables")
def _(world: World) -> list[str]:
    return ["nowhere"]


# results of several folders
def _results(world: World, **changes: object) -> Path:
    """A results folder with the true record, changed where that is not in its hash."""
    made = json.loads(world.trained.read_text()) | changes
    path = world.root / "A/records" / world.trained.relative_to(world.trained.parents[3])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made))
    return path


@case("merge: not a results folder", "pack is no results folder: it has no records/", command="merge-results")
def _(world: World) -> list[str]:
    _results(world)
    return ["A", "pack", "out=C"]


@case("merge: a folder that is not here", "nowhere is not here; give folders as", command="merge-results")
def _(world: World) -> list[str]:
    _results(world)
    return ["A", "nowhere", "out=C"]


@case("merge: into a folder with files", "out=pack exists and is not an empty folder", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "B", "out=pack"]


@case("merge: into what it merges", "out=A/C is inside A, which is merged", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "B", "out=A/C"]


@case("merge: with itself", "A and A/../A are the same folder: give each once", command="merge-results")
def _(world: World) -> list[str]:
    return ["A", "./A/../A", "out=C"]


@case(
    "merge: no record that can be used", "A: none of its 1 records can be used; the first, A/", command="merge-results"
)
def _(world: World) -> list[str]:
    _results(world, seed=5)
    return ["A", "B", "out=C"]


@case("merge: unknown code", "its code digest feedfeed is not known", "code=feedfeed takes", command="merge-results")
def _(world: World) -> list[str]:
    _results(world, code="feedfeed")
    shutil.copytree(world.root / "A", world.root / "B")
    return ["A", "B", "out=C"]


asked("merge: one folder", "merge-results", "A out=C", "got 1 folder: give two or more, as in A B out=C")
asked("merge: where to", "merge-results", "A B", "where to? give a new folder, as in out=C")
asked("merge: out twice", "merge-results", "A B out=C out=D", "got out= twice")
asked("merge: unknown word", "merge-results", "A B uot=C", "unknown argument 'uot' (did you mean 'out'?)")
asked("verify: which cells", "verify", "sample=3", "which cells? give records or a results folder")
asked("verify: nothing there", "verify", "nowhere", "nowhere is not here; give records, or folders as")
asked("verify: no results folder", "verify", "pack", "pack is in no results folder: records are <results>/records/")
asked("verify: no such number", "verify", "pack sample=0", "sample=0: give a whole number from 1, as in sample=3")
asked("verify: no threads", "verify", "pack trainer.threads=many", "trainer.threads: got 'many', must be an integer")
asked("verify: no accelerator", "verify", "pack trainer.accelerator=tpu", "trainer.accelerator: got 'tpu'")
asked("verify: no whole seed", "verify", "pack seed=1e3", "seed=1e3: give a whole number from 0, as in seed=0")
asked("verify: not movable", "verify", "pack recipe.lr=1", "unknown change 'recipe.lr'", "trainer.accelerator")


@case("verify: an edited record", "was it edited? delete it and run the cell again", command="verify")
def _(world: World) -> list[str]:
    return [str(_results(world, seed=5).relative_to(world.root))]


FOREIGN = {
    "a task twice": ("A,dtd,0,50,x\nA,dtd,0,51,x", "line 3: dtd of A with seed 0 stands there twice; keep one"),
    "an unknown task": ("A,dtdd,0,50,x", "line 2: unknown task 'dtdd' (did you mean 'dtd'?)"),
    "a number out of range": ("A,dtd,0,501,x", "line 2: top1 is '501', not a number from 0 to 100 (in %)"),
    "a number that is none": ("A,dtd,0,nan,x", "line 2: top1 is 'nan', not a number from 0 to 100 (in %)"),
    "no whole seed": ("A,dtd,one,50,x", "line 2: seed is 'one', not a whole number from 0"),
    "no source": ("A,dtd,0,50,", "line 2: source is '': give a text of one line"),
    "too few values": ("A,dtd,0,50", "line 2: it has more or fewer values than there are columns"),
    "no line": ("", "x.csv has no numbers: give lines of method, task, seed, top1, source"),
    "no task of ours": (
        "A,cub,0,50,x",
        "no record scored on test has a task of x.csv (cub), so there is nothing",
    ),
}


def _foreign(content: str, header: str = "method,task,seed,top1,source") -> Case:
    def make(world: World) -> list[str]:
        _results(world)
        (world.root / "x.csv").write_text(f"{header}\n{content}\n")
        return ["A", "foreign=x.csv"]

    return make


for _what, (_content, _said) in FOREIGN.items():
    case(f"tables: foreign numbers, {_what}", _said, command="tables")(_foreign(_content))
case("tables: foreign numbers, no column", "x.csv has no column source; its first", command="tables")(
    _foreign("A,dtd,0,50", "method,task,seed,top1")
)
asked("tables: no foreign file", "tables", "foreign=nowhere.csv", "foreign=nowhere.csv cannot be read: No such file")
asked("tables: beside twice", "tables", "beside=a beside=b", "got beside= 2 times: give one folder")
asked("tables: foreign twice", "tables", "foreign=a foreign=b", "got foreign= 2 times: give one file")


@case("tables: nothing beside", "no records below nowhere/records; give a results folder", command="tables")
def _(world: World) -> list[str]:
    _results(world)
    return ["A", "beside=nowhere"]


@case("two flags at once", "got -m and --cfg, of which one can be given")
def _(world: World) -> list[str]:
    return ["-m", "--cfg", "job"]


@case("unknown launcher", "unknown launcher 'jobblib' (did you mean 'joblib'?)", "docs/clusters.md")
def _(world: World) -> list[str]:
    return ["-m", "hydra/launcher=jobblib", "seed=0,1"]


@case("a grid over what does not exist", "unknown option of recipe 'lrr' (did you mean 'lr'?)")
def _(world: World) -> list[str]:
    return ["-m", "recipe.lrr=1e-3,1e-2"]


@case("doctor: a link to itself", "loop does not exist; give a cache directory", command="doctor")
def _(world: World) -> list[str]:
    (world.root / "loop").symlink_to("loop")
    return ["--compare", "loop", "loop"]


@case("list: unknown kind", "unknown list 'methodz' (did you mean 'methods'?)", command="list")
def _(world: World) -> list[str]:
    return ["methodz"]


def _raise_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _full_disk(folder: Path) -> bool:
    """Mount a small file system of its own at `folder` and fill it; False where that is not allowed."""
    if os.geteuid() or not shutil.which("mount"):
        return False
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        return False
    with pytest.raises(OSError, match="No space"), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return True


def _edited(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


# searches


def tuned(name: str, line: str, *expected: str) -> None:
    """Add a case of `aoft-bench tune` that changes the words of a valid search."""
    case(name, *expected, command="tune")(lambda world: search_words(world, line))


def search_words(world: World, line: str = "") -> list[str]:
    given = dict(word.split("=", 1) for word in line.split())
    valid = {"protocol": "tune", "recipe.lr": "1e-3,3e-3", "recipe.epochs": "3", "rungs": "1"}
    world.prepared()
    return ["-cn", "config", *words(world.options | valid | given)]


def begun(world: World) -> Path:
    """The journal of the valid search, of which nothing is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aoft_bench.cli.tune_search.Search.step", _raise_full)
        call("tune", *search_words(world), cwd=world.root)
    (journal,) = (world.root / "results/searches").rglob("journal")
    return journal


tuned("no grid", "recipe.lr=1e-3", "linear on folder has one setting", "several values, as in recipe.lr=1e-3,3e-3")
tuned("tuning on test", "protocol=clean", "protocol=clean: settings are chosen on val200, never by test images")
tuned("tuning by the best test epoch", "protocol=literature", "protocol=literature: settings", "give protocol=tune")
tuned("tuning by force", "results.mode=force", "results.mode=force: tune takes missing alone")
tuned("a search with a launcher", "hydra/launcher=joblib", "start the same command several times instead")
tuned("an unknown start", "start=best", "unknown start 'best'", "allowed: grid, portfolio")
tuned("no portfolio", "start=portfolio", "no finished tuning records of these settings of linear", "give start=grid")
tuned("one trial", "trials=1", "trials=1: give all or a whole number from 2, as in trials=5")
tuned("no factor", "factor=1", "factor=1: give a whole number from 2")
tuned("rungs that are no numbers", "rungs=1,x", "rungs=1,x: give numbers of epochs, as in rungs=11,33, or auto")
tuned("a rung behind the end", "rungs=3", "rungs=3: 3 is not before the last of 3 epochs")
tuned("a typo in a search", "recpie.lr=1", "unknown section 'recpie' (did you mean 'recipe'?)")


@case("an option of a search twice", "factor= is given twice; give it once", command="tune")
def _(world: World) -> list[str]:
    return [*search_words(world), "factor=2", "factor=3"]


@case("a journal of another grid", "is the journal of another search: recipe.lr=0.01 is not in it", command="tune")
def _(world: World) -> list[str]:
    begun(world)
    return search_words(world, "recipe.lr=1e-2,3e-2")


@case("a journal of other code", "its scores are of other code", "delete that folder", command="tune")
def _(world: World) -> list[str]:
    begun(world)
    world.patch.setattr("aoft_bench.cli.tune_search.code_digest", lambda: "0123456789abcdef")
    return search_words(world)


@case("a damaged journal", "is damaged (JSONDecodeError", "delete that folder", command="tune")
def _(world: World) -> list[str]:
    journal = begun(world)
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0][:-5], *lines[1:]]) + "\n")
    return search_words(world)


@case("no folder for a journal", "cannot write the journal of a search to results/", "results.root=DIR", command="tune")
def _(world: World) -> list[str]:
    (world.root / "results").write_text("in the way")
    return search_words(world)


@case("no library optuna", "needs the package optuna: pip install -e '.[tune]'", command="tune")
def _(world: World) -> list[str]:
    world.patch.setitem(sys.modules, "optuna", None)
    return search_words(world)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> Path:
    """The record of a true cell."""
    root = tmp_path_factory.mktemp("trained")
    make_pack(root / "pack")
    places = {"data.root": root / "pack", "data.cache": root / "cache", "results.root": root / "results"}
    options = nano | {"dataset": "folder", "method": "linear"} | {k: str(v) for k, v in places.items()}
    done = call(*words(options), cwd=root)
    assert done.code == 0, done.err
    (record,) = (root / "results").rglob("*.json")
    return record


@pytest.fixture
def world(tmp_path: Path, nano: dict[str, str], monkeypatch: pytest.MonkeyPatch, trained: Path) -> Iterator[World]:
    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as if it were not installed
    yield World(tmp_path, nano, monkeypatch, trained)
    for name in ("results", "cache", "outputs"):
        if os.path.ismount(tmp_path / name):
            subprocess.run(["umount", str(tmp_path / name)], check=True)


@pytest.mark.parametrize(("command", "make", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    result = cli(command, *make(world))
    _is_one_error(result, numbered="problems\n" in expected[0])
    for text in expected:
        assert text in result.err
    assert not list(world.root.rglob("*.partial"))
    assert not list((world.root / "results/records").rglob("*.json"))
    assert not list((world.root / "results").rglob("*.safetensors"))


def _is_one_error(result: Result, numbered: bool = False) -> None:
    assert result.code == 2, (result.out, result.err)
    assert result.err.startswith("aoft_bench: ")
    assert "Traceback" not in result.err
    lines = result.err.rstrip("\n").split("\n")
    if numbered:
        assert all(line.startswith(f"  {i}. ") for i, line in enumerate(lines[1:], 1))
    else:
        assert len(lines) == 1, lines
    assert len(CASES) >= 30


def test_no_weights_and_no_network_is_said_within_10_seconds(tmp_path: Path) -> None:
    """The hub's cache is empty and nothing answers at its address. Imports, 3 s on an idle core, are not counted."""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_CACHE", None)
    program = (
        "import sys, time, hydra, huggingface_hub, aoft_bench.experiments.run\n"
        "from aoft_bench.cli import main\n"
        "start = time.monotonic()\ncode = main(['method=aoft', 'dataset=cifar100', 'logger=none'])\n"
        "print(time.monotonic() - start)\nsys.exit(code)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    _is_one_error(Result(done.returncode, done.stdout, done.stderr), numbered=True)  # the data are missing too
    expected = (
        "vit_base_patch16_224.orig_in21k are not here",
        "cannot be reached",
        "backbone.checkpoint=FILE",
        "vit_nano",
    )
    for text in expected:
        assert text in done.stderr
    assert float(done.stdout) < 10


def test_the_true_command_prints_one_line_and_exits_with_2(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "aoft_bench", "method=lorra"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    _is_one_error(Result(done.returncode, done.stdout, done.stderr))
    assert "did you mean 'lora'" in done.stderr
    assert not list(tmp_path.iterdir())
