"""`aoft-bench prepare dataset=NAME[,NAME|SUITE] [name=value ...]`: get images ready for training.

Downloads what can be downloaded, decodes every image once and keeps it as uint8 in data.cache. A run does the same for
its own task on first use; this command is for machines whose compute nodes have no network. Tasks that are ready are
skipped, and an interrupted download is resumed. Exit code 2 if a task could not be prepared; the others still are.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from aoft_bench.cli.data_commands import ChosenTask, chosen_tasks, each_task, run_command, take_word
from aoft_bench.utils.errors import unknown

USAGE = f"""{__doc__}
  dataset=cifar100,svhn    tasks (see `list datasets`); suites: vtab1k, manyshot, fgvc, domainshift, embedded, all
  data.source=tfds|folder  originals from TensorFlow Datasets, or a folder pack in data.root
  data.tfds_dir=DIR        where TensorFlow Datasets keeps downloads and prepared examples
  data.manual_dir=DIR      archives downloaded by hand
  data.cache=DIR           where the result goes
  fetch=public             first fetch the public (lossy) pack of VTAB-1k's tasks, or the json files of FGVC's sets, to
                           data.root or data/packs
  backbone=NAME            the model: larger images are squashed to its input size

for example:
  aoft-bench prepare dataset=cifar100,eurosat
  aoft-bench prepare dataset=vtab1k fetch=public data.root=data/packs"""

INTERRUPTED = "the same command goes on from here"


def main(arguments: Sequence[str]) -> int:
    """Prepare each task of a command line. Exit code 2 if one could not be prepared."""
    return run_command(USAGE, arguments, prepare_all)


def prepare_all(words: list[str]) -> int:
    """Prepare each task of a command line and print a line for it; returns how many failed."""
    what, words = take_word(words, "fetch")
    if what not in (None, "public"):
        raise unknown("value of fetch", what, ("public",))
    return each_task(chosen_tasks(words), "prepared", partial(_prepare, fetched=what is not None))


def _prepare(chosen: ChosenTask, fetched: bool) -> tuple[str, Path]:
    from aoft_bench.data.packs.fetch import fetch
    from aoft_bench.data.prepared_task import prepare
    from aoft_bench.data.state import megabytes

    locations = chosen.locations
    if fetched:
        locations = replace(locations, source="folder", root=fetch(chosen.task, locations.root))
    ready = prepare(chosen.task, locations, image_size=chosen.image_size, interpolation=chosen.interpolation)
    size = " x ".join(map(str, ready.shape)) if ready.shape else "short side resized, cropped in training"
    note = f" [{ready.official_note}]" if ready.official_note else ""
    count, on_disk = sum(ready.sizes.values()), megabytes(ready.directory)
    return f"{count:,} images ({size}), {on_disk}, from {ready.source_note}{note}", ready.directory
