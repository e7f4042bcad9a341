"""A task from TensorFlow Datasets. Imported in the preparing process only, see `process`."""

import contextlib
import importlib.util
import io
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aoft_bench.data import decode
from aoft_bench.data.locations import Locations
from aoft_bench.data.manifest import Manifest
from aoft_bench.data.sources.base import Example, Shape, Source
from aoft_bench.data.tasks import SPLITS, Task
from aoft_bench.data.tfds import download, official
from aoft_bench.data.tfds.builders import accepts, builder_name, facts
from aoft_bench.data.tfds.labels import LABEL_MAPS
from aoft_bench.data.tfds.process import EXTRA, content, stamp
from aoft_bench.records.schema import NOT_OFFICIAL
from aoft_bench.utils.errors import UserError, message_of
from aoft_bench.utils.files import is_full
from aoft_bench.utils.locks import preparing

_IDS = ("id", "file_name", "filename", "image/file_name", "name")  # features with an example's id; the first is taken
_SCALES = {"dsprites": 255}  # its pixels are 0 and 1


def from_tfds(task: Task, locations: Locations) -> Source:
    """The slices of a task's builder, which is downloaded and prepared first if necessary.

    Raises `UserError` for a version that is not accepted, a failed download, a missing extra, a full disk.
    """
    assert task.builder is not None and task.slices is not None
    import tensorflow_datasets as tfds

    builder = _prepared(task, locations)
    features = builder.info.features
    # decoded here: TFDS uses OpenCV if it is installed, else Pillow, and keeps the alpha channel of some files
    images = [feature for feature in features if isinstance(features[feature], tfds.features.Image)]
    encoded = {feature: tfds.decode.make_decoder()(lambda content, feature: content)() for feature in images}
    splits = {split: builder.as_data_source(task.slices[split], decoders=encoded) for split in SPLITS}
    sizes = {split: len(splits[split]) for split in SPLITS}
    name, version = builder_name(task.builder), str(builder.version)
    scale = _SCALES.get(name, 1)
    identifier = next((feature for feature in _IDS if feature in features), None)
    label_of = LABEL_MAPS[task.label_map]

    def read(split: str, index: int) -> Example:
        example = splits[split][index]
        where = f"{name}/{version} {task.slices[split] if task.slices else ''} example {index}"
        image = decode.decode_bytes(example["image"], where)[..., : features["image"].shape[-1]] * np.uint8(scale)
        label = label_of(example)
        if not 0 <= label < task.classes:
            raise UserError(f"{where}: the label {label} is out of range for the {task.classes} classes of {task.name}")
        return Example(image, label, _text(example[identifier]) if identifier else "")

    note = "; ".join(task.deviations(sizes, task.classes))
    names = getattr(features["label"], "names", None) if task.label_map == "label" else None
    return Source(
        kind="tfds",
        note=f"TFDS {name}/{version}, {', '.join(task.slices[split] for split in SPLITS)}",
        official=not note,
        official_note=note,
        classes=task.classes,
        class_names=tuple(names) if names else None,
        stamp=stamp(task),
        sizes=sizes,
        native_shape=lambda limit: _shape(features, limit),
        channels=lambda: int(features["image"].shape[-1]),
        read=read,
        compared=lambda rows: ("", "") if note else _compared(task, rows),
        content=content(task, locations, version),
    )


def _compared(task: Task, rows: Manifest) -> tuple[str, str]:
    """How the ids disagree with the official list, and how they agree."""
    differing = official.differences(task, rows)
    if differing is None:
        return "", "members not compared: no official list of them, or no ids"
    if differing:
        return f"{NOT_OFFICIAL}: {'; '.join(differing)}", ""
    return "", "ids are the official ones"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _shape(features: Mapping[str, Any], limit: int) -> Shape | None:
    """The size that the builder declares for every image; None if it declares none, or a larger one than `limit`."""
    height, width, channels = features["image"].shape
    return (height, width, channels) if height and width and max(height, width) <= limit else None


def _prepared(task: Task, locations: Locations) -> Any:
    """The builder, with its examples prepared in `locations.tfds` as array_record, by one process at a time."""
    assert task.builder is not None
    name = builder_name(task.builder)
    try:
        with preparing(name, locations.tfds / f".aoft_bench-{name.replace('/', '-')}.lock"), _quiet():
            builder = _of_accepted_version(task, locations)
            if not builder.is_prepared():
                _download_and_prepare(name, builder, locations)
            if "array_record" not in {form.value for form in builder.info.available_file_formats()}:
                raise UserError(
                    f"{builder.data_dir} was prepared as {builder.info.file_format.value}, which cannot be read "
                    f"without TensorFlow; choose another folder with data.tfds_dir=<folder>, or delete that one"
                )
    except OSError as error:
        raise UserError(
            f"cannot write in {locations.tfds}: {error.strerror}; choose another folder with data.tfds_dir=<folder>"
        ) from error
    return builder


def _of_accepted_version(task: Task, locations: Locations) -> Any:
    """The builder in an accepted version: one that is prepared, else the newest, whose examples have ids."""
    import tensorflow_datasets as tfds

    assert task.builder is not None
    name = builder_name(task.builder)
    default = tfds.builder(name, data_dir=locations.tfds)
    versions = sorted({default.version, *default.supported_versions}, reverse=True)
    accepted = [str(version) for version in versions if accepts(task.builder, str(version))]
    if not accepted:
        raise UserError(
            f"{task.name} is defined on {task.builder}, the installed TFDS {tfds.__version__} has "
            f"{', '.join(map(str, versions))}; install another tensorflow-datasets"
        )
    builders = [tfds.builder(f"{name}:{version}", data_dir=locations.tfds) for version in accepted]
    return next((builder for builder in builders if builder.is_prepared()), builders[0])


def _download_and_prepare(name: str, builder: Any, locations: Locations) -> None:
    import tensorflow_datasets as tfds

    if not importlib.util.find_spec("tensorflow"):
        raise UserError(f"preparing {name} needs TensorFlow, once and for preparing only; {EXTRA}, then run again")
    for leftover in locations.tfds.glob(f"{name}/**/incomplete.*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a killed process: this one holds the lock
    _check_space(name, locations)
    config = tfds.download.DownloadConfig(manual_dir=locations.manual, try_download_gcs=False)
    locations.manual.mkdir(parents=True, exist_ok=True)  # TFDS refuses a folder that does not exist, even if unused
    with (
        _errors(name, locations),
        download.install(locations.tfds / "downloads", builder.url_infos, locations.manual),
    ):
        builder.download_and_prepare(
            file_format="array_record", download_config=config, download_dir=locations.tfds / "downloads"
        )


def _check_space(name: str, locations: Locations) -> None:
    """Fail before the download if the disk is too small; files of an interrupted download are subtracted."""
    downloaded = sum(path.stat().st_size for path in (locations.tfds / "downloads").rglob("*") if path.is_file())
    needed = facts(name).disk - min(downloaded, facts(name).download)
    free = shutil.disk_usage(locations.tfds).free
    if free < needed:
        raise UserError(
            f"the disk is too full to prepare {name}: downloads, their extraction and the prepared examples need about "
            f"{needed / 1e9:.1f} GB in {locations.tfds}, {free / 1e9:.1f} GB are free; free some space or "
            f"choose another folder with data.tfds_dir=<folder>"
        )


@contextlib.contextmanager
def _errors(name: str, locations: Locations) -> Iterator[None]:
    """Turn exceptions of TFDS, the network and the disk into a `UserError` of one line."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = message_of(error)
        if is_full(error):
            raise UserError(
                f"the disk is full: cannot prepare {name} in {locations.tfds}; free some space and run again, what was "
                f"downloaded is kept"
            ) from error
        by_hand = facts(name).manual or facts(name).trouble
        hint = f"; {by_hand}, where <manual_dir> is {locations.manual}" if by_hand else ""
        raise UserError(f"TFDS could not prepare {name}: {reason[:400]}{hint}; then run again") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' warnings, log and what they print, but not their progress bars, which are on stderr."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
