"""Runs that diverge, and results that cannot be written."""

from conftest import Command, words
from wrong_inputs import Case, Cases, World, full_disk, raise_full

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


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
wrong(
    "results in a file", "results.root=pack/test.txt/x", "cannot write results to pack/test.txt/x", "results.root=DIR"
)
wrong("results in /proc", "results.root=/proc/x", "cannot write results to /proc/x", "results.root=DIR")


@case("unfinished is a file", "cannot write results to results/unfinished/vit_nano/linear/folder", "results.root=DIR")
def _(world: World) -> list[str]:
    (world.root / "results").mkdir()
    (world.root / "results/unfinished").write_text("")
    return words(world.options)


@case("no home", "data.root=~/x: ~ has no home folder here; set HOME, or give the path in full")
def _(world: World) -> list[str]:
    """A user of a container's own, whom nothing describes."""
    world.patch.delenv("HOME")
    world.patch.setattr("pwd.getpwuid", lambda number: {}[number])
    return words(world.options, data__root="~/x")


@case("disk full at a sweep's notes", "cannot write the notes of a sweep to outputs", "the disk is full")
def _(world: World) -> list[str]:
    if not full_disk(world.root / "outputs"):
        world.patch.setattr("aoft_bench.utils.files.tempfile.NamedTemporaryFile", raise_full)
    return ["-m", *words(world.options, seed="0,1")]


@case("disk full at the record", "cannot write", "the disk is full", "results.root=DIR")
def _(world: World) -> list[str]:
    """It becomes full while the cell trains."""
    world.prepared()
    world.patch.setattr("aoft_bench.utils.files.os.fsync", raise_full)
    return words(world.options)


@case("disk full before", "cannot write results to results/", "the disk is full", "results.root=DIR")
def _(world: World) -> list[str]:
    if not full_disk(world.root / "results"):
        world.patch.setattr("aoft_bench.utils.files.tempfile.NamedTemporaryFile", raise_full)
    return words(world.options)


@case("disk full at the cache", "the disk is full", "data.cache=<folder>")
def _(world: World) -> list[str]:
    if not full_disk(world.root / "cache"):
        world.patch.setattr("aoft_bench.data.write_cache.os.fsync", raise_full)
    return words(world.options)


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)
