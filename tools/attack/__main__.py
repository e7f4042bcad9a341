"""Attack the program with hostile inputs that are in no test, and count how it answers.

Run from the repository root:  python tools/attack [--count 500] [--seed 0] [--only commands,records,...] [--jobs 2]

Each attack is one call of a command in an empty folder. Its answer is one of

    refused          exit code 2 and one line that starts with "aoft_bench: "; nothing written
    harmless         exit code 0, and the numbers are those that the undamaged input gives, or the input was left out
    silently wrong   exit code 0, and a number, or a value of the configuration, is another one
    traceback, unclear (another exit code or several lines), hung

Only the first two are good: the exit code of this script is 1 if there is any other. The same seed gives the same
attacks. Prints one line for each bad answer, and the counts.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import commands_attack
import packs_attack
import records_attack
import trained_attack
from answers import GOOD, Attack, warm_up

# part -> (its share of all attacks, what yields them for ever)
PARTS: dict[str, tuple[float, Callable[[random.Random, Path], Iterator[Attack]]]] = {
    "commands": (0.36, commands_attack.options),
    "yaml": (0.08, commands_attack.files),
    "records": (0.26, records_attack.attacks),
    "packs": (0.14, packs_attack.attacks),
    "weights": (0.10, trained_attack.weights),
    "checkpoints": (0.06, trained_attack.checkpoints),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--jobs", type=int, default=2, help="calls at a time")
    given = parser.parse_args()
    chosen = given.only.split(",")
    total = sum(PARTS[part][0] for part in chosen)
    warm_up()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPool(given.jobs) as pool:
        for part in chosen:
            start = time.monotonic()
            share, make = PARTS[part]
            base = Path(folder, part)
            base.mkdir()
            attacks = make(random.Random(f"{given.seed} {part}"), base)
            wanted = [next(attacks) for _ in range(round(given.count * share / total))]
            counts[part] = Counter()
            for attack, answer in zip(wanted, pool.imap(lambda a: a.answer(), wanted), strict=True):
                counts[part][answer.verdict] += 1
                if answer.verdict not in GOOD:
                    print(f"{answer.verdict:<15} {part}: {attack.text}\n{'':<16}{answer.detail}", flush=True)
            print(f"{part:<12} {_shown(counts[part])}; {time.monotonic() - start:.0f} s", flush=True)
    everything = sum(counts.values(), Counter())
    print(f"{'all':<12} {_shown(everything)}")
    return int(any(verdict not in GOOD for verdict in everything))


def _shown(counts: Counter[str]) -> str:
    return f"{counts.total()} tried: " + ", ".join(f"{count} {name}" for name, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
