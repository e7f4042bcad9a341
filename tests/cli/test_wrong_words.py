"""Mistakes in the words of a run and in configuration files: names, values, what Hydra would take."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import Command, Result
from wrong_inputs import ROOT, Case, Cases, World, is_one_error

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


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


@case("two flags at once", "got -m and --cfg, of which one can be given")
def _(world: World) -> list[str]:
    return ["-m", "--cfg", "job"]


@case("unknown launcher", "unknown launcher 'jobblib' (did you mean 'joblib'?)", "docs/clusters.md")
def _(world: World) -> list[str]:
    return ["-m", "hydra/launcher=jobblib", "seed=0,1"]


@case("a grid over what does not exist", "unknown option of recipe 'lrr' (did you mean 'lr'?)")
def _(world: World) -> list[str]:
    return ["-m", "recipe.lrr=1e-3,1e-2"]


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)


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
    is_one_error(Result(done.returncode, done.stdout, done.stderr), numbered=True)  # the data are missing too
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
    is_one_error(Result(done.returncode, done.stdout, done.stderr))
    assert "did you mean 'lora'" in done.stderr
    assert not list(tmp_path.iterdir())
