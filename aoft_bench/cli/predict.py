"""`aoft-bench predict IMAGES... model=DIR`: what is in images, by a model that `aoft-bench export-model` wrote.

Prints a line for each image: its file, and the most probable classes. Exit code 2 if an image could not be read; the
others still are.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aoft_bench.cli import ArgumentParser
from aoft_bench.data.decode import IMAGE_SUFFIXES, decode, is_image
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path
from aoft_bench.utils.text import one_line

OPTIONS = ("model", "top", "out")
BATCH = 32


def main(arguments: Sequence[str]) -> int:
    """Print the most probable classes of each image. Exit code 2 if one could not be read."""
    parser = ArgumentParser("predict")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="IMAGE|FOLDER|name=value",
        help="image files, folders of them, model=DIR (the folder of export-model), top=N (how many classes to print, "
        "3), out=FILE.csv (all of it as a table too)",
    )
    words = parser.parse_args(arguments).words
    named = [word for word in words if re.match(r"\w+=", word)]
    options = _options(named)
    if "model" not in options:
        raise UserError("which model? give model=DIR, a folder of `aoft-bench export-model RECORD out=DIR`")
    top = options.get("top", "3")
    if not (top.isascii() and top.isdecimal() and 1 <= int(top) <= 1000):
        raise UserError(f"top: got {top!r}, give a number from 1 to 1000")
    images = _images([user_path(word, "the argument") for word in words if word not in named])

    from aoft_bench.export.predictor import load_network
    from aoft_bench.results.writers.csv import csv_of
    from aoft_bench.utils.files import write_text_atomically

    predictor = load_network(user_path(options["model"], "model"))
    most = min(int(top), len(predictor.labels))
    rows, broken = [], 0
    for start in range(0, len(images), BATCH):
        read, problems = _read(images[start : start + BATCH], predictor.prepare)
        broken += len(problems)
        for problem in problems:
            print(f"aoft_bench: {problem}", file=sys.stderr, flush=True)
        if not read:
            continue
        found = predictor.probabilities(list(read.values())).topk(most)
        for path, values, classes in zip(read, found.values.tolist(), found.indices.tolist(), strict=True):
            labels = [predictor.labels[index] for index in classes]
            each = [f"{one_line(label)} {100 * value:.1f} %" for label, value in zip(labels, values, strict=True)]
            print(f"{one_line(str(path))}: {', '.join(each)}", flush=True)
            rows.append({"image": str(path)} | _columns(labels, values))
    if "out" in options and rows:
        write_text_atomically(user_path(options["out"], "out"), csv_of(rows))
    if broken and len(images) > 1:
        print(f"aoft_bench: {broken} of {len(images)} images could not be read (named above)", file=sys.stderr)
    return 2 if broken else 0


def _columns(labels: list[str], values: list[float]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for rank, (label, value) in enumerate(zip(labels, values, strict=True), 1):
        columns |= {f"label {rank}": label, f"probability {rank}": f"{value:.6f}"}
    return columns


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, "an image with a = in its name is given as ./NAME")
        if not value:
            raise UserError(f"{name} has no value: give {name}=VALUE")
        options[name] = value
    return options


def _images(paths: list[Path]) -> list[Path]:
    """The image files of the command line, those of folders in order of their names. Raises `UserError` for none."""
    if not paths:
        raise UserError("which images? give files, or folders of them")
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"no image {one_line(str(path))}: the file does not exist")
        inside = _inside(path) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"no images in {one_line(str(path))}; known endings: {' '.join(IMAGE_SUFFIXES)}")
        found += inside
    return found


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_image(path.name) and path.is_file())


def _read(paths: list[Path], prepare: Callable[[np.ndarray], np.ndarray]) -> tuple[dict[Path, np.ndarray], list[str]]:
    """The images that can be read, prepared for the model, and a line for each of the others."""
    read, problems = {}, []
    for path in paths:
        try:
            read[path] = prepare(decode(path, "given to predict"))
        except UserError as error:
            reason, _, _ = str(error).partition("; replace the file")
            problems.append(f"{reason}; replace the file, or leave it out")
    return read, problems
