"""`aoft-bench tune -cd sweeps -cn tune [name=value ...]`: search a grid by successive halving on val200.

Takes the sweep files and arguments of `aoft-bench run`. All settings of the grid are trained for a ninth of their
epochs, and the best of them to the end, as many as a third of the grid's epochs allow. Any number of processes may work
on one search: start the same command again, on any machine that shares the folder of results. See docs/tuning.md.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aoft_bench.cli import HELP_FLAGS
from aoft_bench.utils.errors import UserError, unknown

if TYPE_CHECKING:
    from aoft_bench.cli.tune_search import Search

INTERRUPTED = "trials that ended are kept, and the last epoch of the one that ran: the same command goes on from there"
PATIENCE = 2.0  # seconds between two looks at what others run
OWN = {"start": "grid", "trials": "all", "factor": "3", "rungs": "auto"}
STARTS = ("grid", "portfolio")

USAGE = """aoft-bench tune [-cd sweeps] [-cn tune] [name=value ...]   search a sweep's grid by successive halving
  method=aoft dataset=cifar100 recipe.lr=1e-3,3e-3      as for a sweep: any option of `method` and `recipe` with several
                                                        values; several methods or datasets are searches of their own
  start=grid|portfolio                                  the order: as in the grid, or first the settings that together
                                                        did best on other tasks, by the tuning records of results.root
  trials=N                                              only the first N settings of that order
  factor=3                                              the search takes about 1 / factor of the grid's epochs, or less
  rungs=11,33                                           epochs after which settings are compared, before the last one,
                                                        and one in factor goes on; auto: after epochs / factor², and
                                                        as many go on as factor allows
  dry_run=true                                          say what would be run, and for how many epochs
Several processes share a search: start the same command again, here or in another job of the cluster.

for example:
  aoft-bench tune -cd sweeps -cn tune method=lora dataset=digits backbone=vit_nano logger=none"""


def main(arguments: Sequence[str]) -> int:
    """Search, and print a line for each trial, then the best setting. Exit code 2 if no setting could be trained."""
    if HELP_FLAGS & set(arguments):
        print(USAGE)
        return 0
    own, words = own_words(arguments)
    from aoft_bench.cli.run import install_signal_handlers
    from aoft_bench.cli.tune_search import searches_of
    from aoft_bench.config.folders import sweeps_dir

    install_signal_handlers()
    folder = sweeps_dir()
    named = any(word.partition("=")[0] in ("-cn", "--config-name") for word in words)
    default = not named and (folder / "tune.yaml").is_file()
    searches = searches_of([*(["-cn", "tune"] if default else []), *words], own, folder)
    if any(search.dry_run for search in searches):
        for search in searches:
            print(search.announced())
        return 0
    return work(searches)


def own_words(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options of this command, with their defaults, and the other words. Raises `UserError` for a wrong value."""
    own, others = dict(OWN), []
    given: set[str] = set()
    for word in arguments:
        name, _, value = word.partition("=")
        if name not in OWN or "=" not in word:
            others.append(word)
            continue
        if name in given:
            raise UserError(f"{name}= is given twice; give it once")
        given.add(name)
        own[name] = value
    if own["start"] not in STARTS:
        raise unknown("start", own["start"], STARTS)
    for name, lowest, default in (("trials", 2, "all"), ("factor", 2, None)):
        if own[name] != default and not (_is_number(own[name]) and int(own[name]) >= lowest):
            either = f"{default} or a whole number" if default else "a whole number"
            raise UserError(f"{name}={own[name]}: give {either} from {lowest}, as in {name}=5")
    if own["rungs"] != "auto" and not all(map(_is_number, own["rungs"].split(","))):
        raise UserError(f"rungs={own['rungs']}: give numbers of epochs, as in rungs=11,33, or auto")
    return own, others


def work(searches: Sequence["Search"]) -> int:
    """Take trials of the searches, the first that has one, until all are done."""
    with contextlib.ExitStack() as stack:
        for search in searches:
            stack.enter_context(search.open())
            print(search.announced(), flush=True)
        left, told = list(searches), False
        while left:
            outcome = _step(left)
            if outcome == "wait" and not told:
                print("waiting for trials that other processes run", file=sys.stderr, flush=True)
            told = outcome == "wait"
            if told:
                time.sleep(PATIENCE)
    return 0 if all(search.found for search in searches) else 2


def _step(left: list["Search"]) -> str:
    """Run the next trial of the first search that has one, or end a search; "wait" if others run all that is left."""
    for search in left:
        outcome = search.step()
        if outcome == "done":
            print(search.summary(), flush=True)
            left.remove(search)
        if outcome != "wait":
            return outcome
    return "wait"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:10]) > 0 and len(text) < 10
