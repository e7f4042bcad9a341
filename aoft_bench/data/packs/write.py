"""Write a prepared task as a folder pack of lossless PNG files at native size, for other programs.

    <out>/<task folder>/images/<split>/000000.png
    <out>/<task folder>/train800.txt, val200.txt, test.txt, train800val200.txt     "images/train800/000000.png 307"
    <out>/<task folder>/classes.txt                                                if the names are known
    <out>/<task folder>/manifest.tsv.gz, README.txt                                which images they are, their source

The pack is written to a hidden folder beside its own, which is renamed when it is complete.
"""

import io
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from aoft_bench.data import manifest
from aoft_bench.data.locations import Locations
from aoft_bench.data.packs.readme import readme
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.sources.base import Example
from aoft_bench.data.sources.choose import open_source
from aoft_bench.data.tasks import Task
from aoft_bench.data.tfds import process
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import no_empty_folder, refuse_existing, unwritable, user_path
from aoft_bench.utils.progress_bar import progress

WHAT = "the pack"
Read = Callable[[str, int], Example]  # (split, index) to an image at native size

JOINT = {"train800val200": ("train800", "val200")}  # a list of both

_THREADS = 4  # Pillow encodes without holding the interpreter lock
_BLOCK = 256  # images between two updates of the progress bar
_SAMPLE = 32  # images encoded to estimate the size of all
_CLUSTER = 4096  # files take multiples of this on the disk


def pack_folder(task: Task, out: Path) -> Path:
    """The folder for the pack of a task: in `out`, named like the published pack, else like the task."""
    return user_path(out, "out") / (task.folders[0] if task.folders else task.name)


def export(
    task: Task, locations: Locations, *, image_size: int, interpolation: str, out: Path
) -> tuple[PreparedTask, Path]:
    """Prepare a task as `prepare` does and write it to `pack_folder(task, out)`; returns both.

    Images are taken from the cache if that is at native size, else read from the source again, from TFDS in the
    preparing process. Every image is checked against the manifest of the cache. Raises `UserError` as `prepare` and
    `write_pack` do.
    """
    target = pack_folder(task, out)
    refuse_existing(target, WHAT)
    ready = prepare(task, locations, image_size=image_size, interpolation=interpolation)
    if ready.squashed_by is None:
        write_pack(ready, _cached(ready), target)
    elif ready.source == "tfds":
        process.require(task, locations)
        with no_empty_folder(target.parent, WHAT):
            try:
                process.run(task, locations, image_size, interpolation, target)
            except BaseException:
                # an interrupted process may not have done it
                with suppress(UserError, OSError), _locked(target):
                    _clear(target)
                raise
    else:
        write_pack(ready, open_source(ready.source, task, locations).read, target)
    return ready, target


def write_pack(ready: PreparedTask, read: Read, target: Path) -> None:
    """Write the folder pack of a prepared task to `target`, completely or not at all.

    `read` gives the images (H, W, C) uint8 at native size; C = 1 gives grey PNG files, else RGB. Equal images give
    equal files. Raises `UserError` if `target` is not empty or another process is writing it, for an image that is not
    in the cache's manifest, a full disk, or a folder that cannot be written.
    """
    rows = ready.read_manifest()
    try:
        with no_empty_folder(target.parent, WHAT), _locked(target):
            _clear(target)
            partial = target.with_name(f".{target.name}-{uuid.uuid4().hex}.partial")
            try:
                partial.mkdir()
                _write_images(ready, _checked(ready, read, rows), partial)
                _write_texts(ready, rows, partial)
                refuse_existing(target, WHAT)
                if target.is_dir():
                    target.rmdir()
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise unwritable(target, WHAT, error) from error


def _cached(ready: PreparedTask) -> Read:
    """Reads the images from a cache at native size."""
    splits = {split: ready.read(split) for split in ready.sizes}

    def read(split: str, index: int) -> Example:
        images, labels = splits[split]
        return Example(images[index], int(labels[index]), "")

    return read


def _checked(ready: PreparedTask, read: Read, rows: manifest.Manifest) -> Callable[[str, int], np.ndarray]:
    """The images of `read`, each compared with its row of the manifest."""

    def image(split: str, index: int) -> np.ndarray:
        example, row = read(split, index), rows[split][index]
        if (example.label, manifest.digest(example.image)) != (row.label, row.digest):
            raise UserError(
                f"{ready.task.name}: image {index} of {split} is not the one that was prepared, its source changed; "
                f"delete {ready.directory} and run again"
            )
        return example.image

    return image


def _write_images(ready: PreparedTask, image: Callable[[str, int], np.ndarray], folder: Path) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        _check_space(ready, image, folder, pool)
        with progress(f"exporting {ready.task.name}", sum(ready.sizes.values())) as advance:
            for split in ready.sizes:
                (folder / "images" / split).mkdir(parents=True)

                def one(index: int, split: str = split) -> None:
                    (folder / _name(split, index)).write_bytes(_png(image(split, index)))

                for start in range(0, ready.sizes[split], _BLOCK):
                    done = list(pool.map(one, range(start, min(start + _BLOCK, ready.sizes[split]))))
                    advance(len(done))


def _check_space(
    ready: PreparedTask, image: Callable[[str, int], np.ndarray], folder: Path, pool: ThreadPoolExecutor
) -> None:
    """Fail within seconds if the disk is too small, by the size of a sample of the images."""
    every = [(split, index) for split in ready.sizes for index in range(ready.sizes[split])]
    sample = every[:: -(-len(every) // _SAMPLE)]
    clusters = pool.map(lambda which: -(-len(_png(image(*which))) // _CLUSTER), sample)
    needed = sum(clusters) * _CLUSTER * len(every) / len(sample)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(ENOSPC, f"about {needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free")


def _png(image: np.ndarray) -> bytes:
    # encoded in memory: Pillow does not report a full disk as such
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)).save(content, "PNG")
    return content.getvalue()


def _name(split: str, index: int) -> str:
    return f"images/{split}/{index:06d}.png"


def _write_texts(ready: PreparedTask, rows: manifest.Manifest, folder: Path) -> None:
    texts = {"README.txt": readme(ready)}
    for name, splits in ({split: (split,) for split in ready.sizes} | JOINT).items():
        lines = [f"{_name(split, index)} {row.label}\n" for split in splits for index, row in enumerate(rows[split])]
        texts[f"{name}.txt"] = "".join(lines)
    if ready.class_names:
        texts["classes.txt"] = "".join(f"{name}\n" for name in ready.class_names)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())  # line feeds and UTF-8 on every operating system
    shutil.copyfile(ready.directory / manifest.NAME, folder / manifest.NAME)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock `target`; raises `UserError` if another process holds it. The lock's file is removed at the end."""
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another process is exporting to {target}; wait for it, or choose another folder with out=<folder>"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _clear(target: Path) -> None:
    """Delete the files of a killed export. The caller must hold the lock."""
    for partial in target.parent.glob(f".{target.name}-*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
