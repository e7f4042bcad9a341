"""`aoft-bench export dataset=NAME[,NAME|SUITE] out=DIR [name=value ...]`: tasks for other people's code.

Writes a folder pack for each task: lossless PNG files at native size and the lists that NOAH and its followers read.
Images are prepared first, as for a run. Nothing is overwritten, and a pack appears only when it is complete.
Exit code 2 if a task could not be exported; the others still are.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aoft_bench.cli.data_commands import ChosenTask, chosen_tasks, each_task, run_command, take_word
from aoft_bench.utils.errors import UserError, unknown

FORMATS = ("folder",)
USAGE = f"""{__doc__}
  dataset=cifar100,svhn    tasks (see `list datasets`); suites: vtab1k, manyshot, fgvc, domainshift, embedded, all
  out=DIR                  where the packs go, each in a folder of its own (cifar100: DIR/cifar)
  format=folder            DIR/cifar/images/<split>/000000.png and train800.txt, val200.txt, test.txt,
                           train800val200.txt of lines '<image> <label>'; the only one so far
  data.source=tfds|folder  originals from TensorFlow Datasets, or a folder pack in data.root
  data.root=DIR, data.tfds_dir=DIR, data.manual_dir=DIR, data.cache=DIR, backbone=NAME
                           as for `aoft-bench prepare`

A pack in data/packs or $AOFT_BENCH_DATA is found by later runs; keep exports elsewhere if they are for others.

for example:
  aoft-bench export dataset=cifar100 out=packs"""

INTERRUPTED = "packs that were not complete are not there"


def main(arguments: Sequence[str]) -> int:
    """Export each task of a command line. Exit code 2 if one could not be exported."""
    return run_command(USAGE, arguments, export_all)


def export_all(words: list[str]) -> int:
    """Export each task of a command line and print a line for it; returns how many failed."""
    kind, words = take_word(words, "format")
    if kind is not None and kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    out, words = take_word(words, "out")
    if not out:
        raise UserError("where to? give out=<folder>; each task gets a folder of its own in it")
    return each_task(chosen_tasks(words), "exported", partial(_export, out=Path(out)))


def _export(chosen: ChosenTask, out: Path) -> tuple[str, Path]:
    from aoft_bench.data.packs.write import export
    from aoft_bench.data.state import megabytes

    ready, folder = export(
        chosen.task, chosen.locations, image_size=chosen.image_size, interpolation=chosen.interpolation, out=out
    )
    size = " x ".join(map(str, ready.shape)) if ready.shape and ready.squashed_by is None else "at their own sizes"
    return f"{sum(ready.sizes.values()):,} images ({size}), {megabytes(folder)}, from {ready.source_note}", folder
