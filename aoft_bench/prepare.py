"""`python -m aoft_bench.prepare dataset=NAME[,NAME|SUITE] [name=value ...]`: get images ready for training.

Downloads what can be downloaded, decodes every image once and keeps it as uint8 in data.cache. A run does the same for
its own task on first use; preparing apart is for machines whose compute nodes have no network. What is ready is left
alone, and what was interrupted goes on. Exit code 2 if a task could not be prepared; the others are all the same.
"""

import sys
import time
from pathlib import Path

from aoft_bench.errors import UserError

USAGE = f"""{__doc__}
  dataset=cifar100,svhn    tasks; suites: vtab1k, fgvc, embedded, all; `python -m aoft_bench.list datasets` shows them
  data.source=tfds|folder  originals from TensorFlow Datasets, or a folder pack in data.root
  data.tfds_dir=DIR        where TensorFlow Datasets keeps downloads and prepared examples
  data.manual_dir=DIR      archives got by hand
  data.cache=DIR           where the result goes
  backbone=NAME            the model they are for: larger images are squashed to its input size"""


def main() -> int:
    """The command line of this module."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    try:
        failed = prepare_all(words)
    except UserError as error:
        print(f"aoft_bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\naoft_bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 2 if failed else 0


def prepare_all(words: list[str]) -> int:
    """Prepare each task of a command line and print a line for it; returns how many failed."""
    from aoft_bench.chosen_tasks import chosen_tasks
    from aoft_bench.data.prepare import prepare

    failed = 0
    tasks = chosen_tasks(words)
    for chosen in tasks:
        start = time.monotonic()
        try:
            ready = prepare(
                chosen.task, chosen.places, image_size=chosen.image_size, interpolation=chosen.interpolation
            )
        except UserError as error:
            failed += 1
            print(f"aoft_bench: {error}", file=sys.stderr, flush=True)
            continue
        size = " x ".join(map(str, ready.shape)) if ready.shape else "short side resized, cropped in training"
        print(
            f"{chosen.task.name}: {sum(ready.sizes.values()):,} images ({size}), {megabytes(ready.directory)}, from "
            f"{ready.source_note}{f' [{ready.official_note}]' if ready.official_note else ''}, "
            f"{time.monotonic() - start:.1f} s\n  {ready.directory}",
            flush=True,
        )
    if failed and len(tasks) > 1:
        print(f"aoft_bench: {failed} of {len(tasks)} tasks could not be prepared (named above)", file=sys.stderr)
    return failed


def megabytes(folder: Path) -> str:
    """Size of the files of a folder, to read."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
