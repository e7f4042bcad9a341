"""Where a task's images may be on this machine, and where they are cached."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path

if TYPE_CHECKING:
    from aoft_bench.config.schema import DataOptions

ENVIRONMENT = "AOFT_BENCH_DATA"
LAYOUT = "images/<split>/... with train800.txt, val200.txt, test.txt of lines '<image> <label>'"
JSON_LAYOUT = "the images with train.json, val.json, test.json of {<image>: <class id>}, as VPT published them"
OWN_LAYOUTS = (
    f"a folder pack ({LAYOUT}), an ImageFolder (train/<class>/<image>), a .csv or .parquet file, or a folder that "
    "Hugging Face's save_to_disk has written"
)
IMAGENET_LAYOUT = (
    "imagenet/train and imagenet/val with a folder for each class, imagenetv2-matched-frequency-format-val, sketch, "
    "imagenet-a and imagenet-r, as their archives unpack"
)
JSON_LISTS = dict(zip(SPLITS, ("train.json", "val.json", "test.json"), strict=True))


@dataclass(frozen=True)
class Draw:
    """Which images train, see `data.draw`. train: how many, None for all; shots: how many of each class; seed: of the
    order in which images are drawn. Raises `UserError` where train and shots are both given."""

    train: int | None = None
    shots: int | None = None
    seed: int = 0

    @property
    def given(self) -> str:
        """The option that asks for fewer images than there are; empty where none does."""
        if self.shots:
            return f"data.shots={self.shots}"
        return f"data.train={self.train}" if self.train else ""

    def __post_init__(self) -> None:
        if self.train and self.shots:
            raise UserError(
                f"data.train={self.train} and data.shots={self.shots} contradict each other; give the number of all "
                f"training images, or that of each class"
            )


@dataclass(frozen=True)
class Locations:
    """Folders of this machine, and the source to use.

    cache: prepared arrays. root: a pack, a set with FGVC's json files, or a folder of them; None: `data/packs` and
    `$AOFT_BENCH_DATA` are searched. source: auto, folder, tfds, image_folder, table or hf, see `sources.choose.choose`.
    tfds_dir: the folder of TensorFlow Datasets; None: `$TFDS_DATA_DIR` or `~/tensorflow_datasets`. manual_dir: archives
    downloaded by hand; None: `<tfds_dir>/downloads/manual`. Of images of the user's own: hf, the name of a dataset of
    the Hugging Face hub; label, the column with the labels, None for its usual name. draw: which of the images train.
    """

    cache: Path
    root: Path | None = None
    source: str = "auto"
    tfds_dir: Path | None = None
    manual_dir: Path | None = None
    hf: str | None = None
    label: str | None = None
    draw: Draw = Draw()

    @classmethod
    def of(cls, options: "DataOptions") -> "Locations":
        """The folders that the section `data` of a configuration names."""
        folders = (options.root, options.tfds_dir, options.manual_dir)
        root, tfds_dir, manual_dir = (Path(folder) if folder else None for folder in folders)
        draw = Draw(None if options.train == "all" else int(options.train), options.shots, options.draw)
        return cls(Path(options.cache), root, options.source, tfds_dir, manual_dir, options.hf, options.label, draw)

    def own_root(self, task: Task, *, folder: bool) -> Path:
        """`root`, which has to be there: a folder, or a file. Raises `UserError` with what may be given."""
        if self.root is None:
            raise UserError(f"dataset={task.name} needs data.root=<place of your images>: {OWN_LAYOUTS}")
        root = user_path(self.root, "data.root")
        if not root.exists():
            raise UserError(f"data.root={root} does not exist; give {OWN_LAYOUTS}")
        if root.is_dir() != folder:
            what, wanted = ("a folder", "a .csv or .parquet file") if root.is_dir() else ("a file", "a folder")
            raise UserError(f"data.root={root} is {what}, data.source={self.source} reads {wanted}; give one")
        return root

    @property
    def tfds(self) -> Path:
        given = self.tfds_dir or Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
        return user_path(given, "data.tfds_dir")

    @property
    def manual(self) -> Path:
        given = self.manual_dir
        return user_path(given, "data.manual_dir") if given else self.tfds / "downloads" / "manual"

    def cache_of(self, task: Task) -> Path:
        """The folder with the prepared arrays of a task."""
        return user_path(self.cache, "data.cache") / task.name

    def digests_of(self, task: Task, root: Path) -> Path:
        """The file beside the cache in which the digests of the images in `root` are remembered."""
        place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]
        return user_path(self.cache, "data.cache") / f".{task.name}-{place}.digests"


def find_pack(task: Task, root: Path | None) -> Path:
    """The folder with the lists of `task`: `root` itself or a folder in it; without `root`, a default folder.

    Raises `UserError` that names what was searched, and how to provide the data.
    """
    if root is None and not task.folders:
        raise UserError(f"dataset={task.name} needs data.root=<folder of your pack>: {LAYOUT}")
    if root is None:
        found = default_pack(task)
        if found:
            return found
        tried = ", ".join(map(str, _default_folders(task)))
        unset = "" if os.environ.get(ENVIRONMENT) else f" (${ENVIRONMENT} is not set)"
        raise UserError(
            f"no folder of {task.name}: looked for {tried}{unset}; put it there or give "
            f"data.root=<folder> ({_layout(task)})"
        )
    root = user_path(root, "data.root")
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"data.root={root} {what}; give the folder of a pack: {_layout(task)}")
    if any((root / name).exists() for name in _lists(task)):
        return root
    for name in task.folders:
        if (root / name).is_dir():
            return root / name
    inside = f", nor a folder {' or '.join(task.folders)}" if task.folders else ""
    raise UserError(f"data.root={root} holds no {_lists(task)[0]}{inside}; it should be {_layout(task)}")


def default_pack(task: Task) -> Path | None:
    """The first default folder of a task that exists, or None."""
    return next((folder for folder in _default_folders(task) if folder.is_dir()), None)


def _default_folders(task: Task) -> list[Path]:
    roots = [Path("data/packs")]
    if os.environ.get(ENVIRONMENT):
        roots.append(user_path(os.environ[ENVIRONMENT], f"${ENVIRONMENT}"))
    return [root / name for root in roots for name in task.folders]


def _layout(task: Task) -> str:
    return {"json": JSON_LAYOUT, "imagenet": IMAGENET_LAYOUT}.get(task.sources[0], LAYOUT)


def _lists(task: Task) -> list[str]:
    """What the folder of a task holds: its lists, or the folder of its images."""
    if "imagenet" in task.sources:
        return ["imagenet"]
    return list(JSON_LISTS.values()) if "json" in task.sources else [f"{split}.txt" for split in SPLITS]
