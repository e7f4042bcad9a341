"""The 16 TFDS builders behind VTAB-1k, from raw archives through TFDS's own preparation into the cache.

The archives are generated (tests/raw) in each dataset's own format with a hundredth of its examples, and the slices of
the table of tasks are scaled likewise: train[45000:45200] is train[450:452]. Needs TensorFlow: `make test-data`.
"""

import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from raw.check import NAMES, in_order
from raw.common import Raw, RawExample, registered

from aoft_bench.data import TASKS, Task, tasks
from aoft_bench.data.locations import Locations
from aoft_bench.data.manifest import digest
from aoft_bench.data.prepared_task import PreparedTask, fill, prepare
from aoft_bench.data.resample import squash
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds import builders, source
from aoft_bench.data.tfds.builders import Builder, builder_name
from aoft_bench.utils.errors import UserError

pytestmark = [
    pytest.mark.data,
    # found, not imported: that takes seconds, in a run of the other tests too
    pytest.mark.skipif(
        not importlib.util.find_spec("tensorflow"),
        reason="TensorFlow is not installed; make test-data installs it and runs these tests",
    ),
]

SIZE = 40  # of the model: larger images are squashed, smaller ones of one size stay


def scaled(slices: str) -> str:
    """A slice expression with its absolute indices divided by a hundred."""
    return re.sub(r"\d+(?![\d%])", lambda number: str(int(number[0]) // 100), slices)


def members(slices: str, raw: Raw, drawn: Callable[[str], Sequence[Any]]) -> list[RawExample]:
    """The examples of a slice, in order, by hand: MD5 order of the keys, then a Python slice."""
    name, _, bounds = slices.rstrip("]").partition("[")
    if name in raw.splits:
        every = raw.splits[name]
    else:  # the builder itself draws which example goes where
        images = {record["image"].tobytes() for record in drawn(name)}
        every = [example for example in raw.splits["train+test"] if example.image.tobytes() in images]
    ordered = in_order(name, every)
    if not bounds:
        return ordered
    first, last = bounds.split(":")
    if first.endswith("%"):
        return ordered[round(len(ordered) * int(first[:-1]) / 100) :]
    return ordered[int(first or 0) : int(last) if last else None]


@pytest.fixture(scope="module")
def raw_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Raw, Locations]]]:
    """The archives of a builder; TFDS is made to expect them, and to need little disk."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    made: dict[str, tuple[Raw, Locations]] = {}

    def raw_and_places(name: str) -> tuple[Raw, Locations]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            raw = importlib.import_module(f"raw.{name}").write(folder / "manual")
            made[name] = raw, Locations(folder / "cache", None, "tfds", folder / "tfds", folder / "manual")
        return made[name]

    real = tfds.builder

    def builder(name: str, **options: Any) -> Any:
        raw, locations = raw_and_places(re.split("[:/]", name)[0])
        found = real(name, **options)
        registered(found, raw, locations.manual)
        return found

    small = {name: dataclasses.replace(entry, disk=10**6) for name, entry in builders.BUILDERS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds, "builder", builder)
        patch.setattr(builders, "BUILDERS", small)
        yield raw_and_places


def small_task(task: Task, raw: Raw, locations: Locations) -> tuple[Task, dict[str, list[RawExample]]]:
    """A task with scaled slices, and the examples that each of its splits must hold."""
    import tensorflow_datasets as tfds

    assert task.slices is not None and task.builder is not None
    slices = {split: scaled(task.slices[split]) for split in SPLITS}
    first = dataclasses.replace(task, slices=slices)
    if "train+test" in raw.splits:
        source.from_tfds(first, locations)  # prepares, so that the draw can be read
    drawn = tfds.builder(builder_name(task.builder), data_dir=locations.tfds).as_data_source
    wanted = {split: members(slices[split], raw, drawn) for split in SPLITS}
    return dataclasses.replace(first, sizes={split: len(wanted[split]) for split in SPLITS}), wanted


def small_cache(name: str, raw_of: Callable[[str], tuple[Raw, Locations]]) -> tuple[PreparedTask, dict[str, Any]]:
    entry = TASKS[name]
    assert entry.builder is not None
    raw, locations = raw_of(builder_name(entry.builder).partition("/")[0])
    task, wanted = small_task(entry, raw, locations)
    return fill(task, source.from_tfds(task, locations), locations, SIZE, "bicubic"), wanted


@pytest.mark.parametrize("name", tasks("vtab1k"))
def test_slices_images_and_labels_are_those_made_by_hand(name, raw_of):
    ready, wanted = small_cache(name, raw_of)
    manifest = ready.read_manifest()
    splits = {split: ready.train(split) for split in ("train800", "val200")} | {"test": ready.open_test()}
    assert ready.source == "tfds" and {split: len(wanted[split]) for split in SPLITS} == ready.sizes
    assert min(ready.sizes.values()) >= 2
    for split, (images, labels) in splits.items():
        assert labels.tolist() == [example.labels[name] for example in wanted[split]]
        assert [row.digest for row in manifest[split]] == [digest(example.image) for example in wanted[split]]
        for image, example in zip(images, wanted[split], strict=True):
            fitted = example.image if ready.squashed_by is None else squash(example.image, SIZE, "bicubic")
            np.testing.assert_array_equal(image, fitted)
    native = {example.image.shape for split in SPLITS for example in wanted[split]}
    assert (ready.squashed_by is None) == (len(native) == 1 and max(native.copy().pop()[:2]) <= SIZE)


def test_every_builder_is_among_them():
    named = {builder_name(TASKS[name].builder or "").partition("/")[0] for name in tasks("vtab1k")}
    assert named == set(NAMES) and len(NAMES) == 16
    assert {builder_name(TASKS[name].builder or "") for name in tasks("vtab1k")} == set(builders.BUILDERS)


def test_a_version_that_is_not_accepted_is_named(raw_of):
    raw_of("dtd")
    task = dataclasses.replace(TASKS["dtd"], builder="dtd:4")
    with pytest.raises(UserError, match=r"dtd is defined on dtd:4, the installed TFDS .* has 3\..*; install another"):
        source.from_tfds(task, raw_of("dtd")[1])


def test_a_damaged_archive_is_refused_and_nothing_is_prepared(raw_of, tmp_path):
    raw, _ = raw_of("eurosat")
    locations = Locations(tmp_path / "cache", None, "tfds", tmp_path / "tfds", tmp_path / "manual")
    locations.manual.mkdir()
    for archive in raw.archives.values():
        (locations.manual / archive).write_bytes(b"another copy, from a mirror of no good name")
    with pytest.raises(UserError, match="TFDS could not prepare eurosat/rgb: .*wrong checksum") as raised:
        source.from_tfds(TASKS["eurosat"], locations)
    assert "\n" not in str(raised.value) and not list((tmp_path / "cache").rglob("*"))
    assert not list(locations.tfds.glob("eurosat/**/dataset_info.json"))


def test_a_full_disk_is_reported_before_the_download(raw_of, tmp_path, monkeypatch):
    raw_of("clevr")
    monkeypatch.setattr(builders, "BUILDERS", {"clevr": Builder(10**9, 10**15)})
    locations = Locations(tmp_path / "cache", None, "tfds", tmp_path / "tfds", raw_of("clevr")[1].manual)
    with pytest.raises(UserError, match=r"disk is too full to prepare clevr: .* about 1000000\.0 GB .*data.tfds_dir="):
        source.from_tfds(TASKS["clevr_count"], locations)


PATCH = '''
"""Imported by Python when it starts: TFDS uses the generated archives."""
import json, os
from pathlib import Path
import tensorflow_datasets as tfds
from raw.common import Raw, registered

given = json.loads(os.environ["AOFT_TEST_RAW"])
real = tfds.builder

def builder(name, **options):
    found = real(name, **options)
    registered(found, Raw(name, given["archives"], {}), Path(given["manual"]))
    return found

tfds.builder = builder
'''


@pytest.fixture
def in_child(tmp_path, monkeypatch) -> Callable[[Raw, Locations], None]:
    """Make the preparing process, a real one, take generated archives."""

    def patch(raw: Raw, locations: Locations) -> None:
        (tmp_path / "start").mkdir()
        (tmp_path / "start/sitecustomize.py").write_text(PATCH)
        paths = [str(tmp_path / "start"), str(Path(__file__).parents[1])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("AOFT_TEST_RAW", json.dumps({"archives": raw.archives, "manual": str(locations.manual)}))

    return patch


SMALLNORB = """
import dataclasses, os, sys
from pathlib import Path
os.environ.update({patched!r})
from aoft_bench.data import TASKS
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import prepare
task = TASKS["smallnorb_azimuth"]
task = dataclasses.replace(task, slices=dict(train800="train[:8]", val200="test[:2]", test="test[50%:]"))
locations = Locations(Path({cache!r}), None, "tfds", Path({tfds!r}), Path({manual!r}))
ready = prepare(task, locations, image_size=224)
print(ready.shape, ready.sizes, ready.source_note, ready.official_note, ready.fingerprint, sep="|")
print([name for name in ("tensorflow", "tensorflow_datasets", "jax") if name in sys.modules])
"""


def start_preparing(locations: Locations) -> subprocess.Popen[str]:
    """A process that prepares smallnorb_azimuth; only the preparing process that it starts takes the archives."""
    patched = {name: os.environ[name] for name in ("PYTHONPATH", "AOFT_TEST_RAW")}
    folders = {"cache": str(locations.cache), "tfds": str(locations.tfds), "manual": str(locations.manual)}
    return subprocess.Popen(
        [sys.executable, "-c", SMALLNORB.format(patched=patched, **folders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in patched},
        start_new_session=True,
    )


@pytest.fixture
def smallnorb(tmp_path, in_child) -> Locations:
    module: ModuleType = importlib.import_module("raw.smallnorb")
    locations = Locations(tmp_path / "cache", None, "tfds", tmp_path / "tfds", tmp_path / "manual")
    in_child(module.write(locations.manual), locations)
    return locations


def test_preparing_does_not_import_tensorflow_here_and_two_processes_agree(smallnorb):
    both = [start_preparing(smallnorb) for _ in range(2)]
    outs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    first, second = outs[0][0].strip().splitlines()
    shape, sizes, note, official, _ = first.split("|")
    assert shape == "(96, 96, 1)" and sizes == str({"train800": 8, "val200": 2, "test": 121})
    assert note == "TFDS smallnorb/2.1.0, train[:8], test[:2], test[50%:]"
    assert official == "sizes 8/2/121 instead of 800/200/12150" and second == "[]"
    assert outs[1][0] == outs[0][0]


def test_preparing_goes_on_after_a_kill(smallnorb):
    killed = start_preparing(smallnorb)
    until = time.monotonic() + 200
    while not list(smallnorb.tfds.glob("smallnorb/incomplete.*")):
        assert killed.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list(smallnorb.tfds.glob("smallnorb/incomplete.*")) and not list(smallnorb.cache.rglob("*.npy"))
    again = start_preparing(smallnorb)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "(96, 96, 1)" in out and not list(smallnorb.tfds.glob("smallnorb/incomplete.*"))


def test_an_error_of_the_preparing_process_is_one_line(tmp_path, in_child):
    locations = Locations(tmp_path / "cache", None, "tfds", tmp_path / "tfds", tmp_path / "manual")
    locations.manual.mkdir()
    (locations.manual / "dtd-r1.0.1.tar.gz").write_bytes(b"no archive")
    in_child(Raw("dtd", {"https://example.org/dtd": "dtd-r1.0.1.tar.gz"}, {}), locations)
    with pytest.raises(UserError, match="TFDS could not prepare dtd: .*checksum") as raised:
        prepare(TASKS["dtd"], locations, image_size=32)
    assert "\n" not in str(raised.value) and not (tmp_path / "cache/dtd").exists()
