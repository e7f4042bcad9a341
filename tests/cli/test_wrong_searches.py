"""Mistakes in a search, `aoft-bench tune`."""

import sys
from pathlib import Path

import pytest
from conftest import Command, call, words
from wrong_inputs import Case, Cases, World, raise_full

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


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
        patch.setattr("aoft_bench.cli.tune_search.Search.step", raise_full)
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


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)
