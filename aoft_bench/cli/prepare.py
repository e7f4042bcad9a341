"""`aoft-bench prepare dataset=NAME[,NAME|SUITE] [name=value ...]`: get images ready for training.

Downloads what can be downloaded, decodes every image once and keeps it as uint8 in data.cache. A run does the same for
its own task on first use; this command is for machines whose compute nodes have no network. Tasks that are ready are
skipped, and an interrupted download is resumed. Exit code 2 if a task could not be prepared; the others still are.
"""

from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli.data_commands import ChosenTask, chosen_tasks, each_task, run_command

USAGE = f"""{__doc__}
  dataset=cifar100,svhn    tasks; suites: vtab1k, fgvc, embedded, all; `aoft-bench list datasets` shows them
  data.source=tfds|folder  originals from TensorFlow Datasets, or a folder pack in data.root
  data.tfds_dir=DIR        where TensorFlow Datasets keeps downloads and prepared examples
  data.manual_dir=DIR      archives downloaded by hand
  data.cache=DIR           where the result goes
  backbone=NAME            the model: larger images are squashed to its input size"""

INTERRUPTED = "the same command goes on from here"


def main(arguments: Sequence[str]) -> int:
    """Prepare each task of a command line. Exit code 2 if one could not be prepared."""
    return run_command(USAGE, arguments, lambda words: each_task(chosen_tasks(words), "prepared", _prepare))


def _prepare(chosen: ChosenTask) -> tuple[str, Path]:
    from aoft_bench.data.prepared_task import prepare
    from aoft_bench.data.state import megabytes

    ready = prepare(chosen.task, chosen.locations, image_size=chosen.image_size, interpolation=chosen.interpolation)
    size = " x ".join(map(str, ready.shape)) if ready.shape else "short side resized, cropped in training"
    note = f" [{ready.official_note}]" if ready.official_note else ""
    count, on_disk = sum(ready.sizes.values()), megabytes(ready.directory)
    return f"{count:,} images ({size}), {on_disk}, from {ready.source_note}{note}", ready.directory
