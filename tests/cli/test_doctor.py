"""`aoft-bench doctor`: reports, verification, comparison, and errors."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import Result
from packs import make_json_set, make_pack, tfds_cache
from PIL import Image

from aoft_bench.cli.doctor import _print_table
from aoft_bench.data import task
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import PreparedTask, prepare
from aoft_bench.data.state import TaskState
from aoft_bench.data.tasks import SPLITS
from aoft_bench.data.tfds.official import official_ids

Doctor = Callable[..., Result]
SMALL = ("data.cache=cache", "backbone=vit_nano")


@pytest.fixture
def doctor(cli, tmp_path, monkeypatch) -> Doctor:
    """The command in the test's folder, its cache in `cache`, for a model of 32 pixels."""
    monkeypatch.delenv("AOFT_BENCH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return lambda *words: cli("doctor", *words, *SMALL)


@pytest.fixture
def plain(cli) -> Doctor:
    """The command with the words given and no others."""
    return partial(cli, "doctor")


def eurosat(folder: Path, pack: str = "data/packs/eurosat", size: int = 32) -> PreparedTask:
    """A pack, and its cache."""
    if not (folder / pack).exists():
        make_pack(folder / pack, shape=(24, 24))
    return prepare(task("eurosat"), Locations(folder / "cache", folder / pack), image_size=size)


def lines(done: Result, start: str) -> list[str]:
    """The rows of the report that begin with a task's name."""
    return [line.strip() for line in done.out.splitlines() if line.strip().startswith(f"{start} ")]


def refused(done: Result) -> str:
    """The one line of a refusal."""
    assert done.code == 2 and done.err.count("\n") == 1 and done.err.startswith("aoft_bench: ")
    assert "Traceback" not in done.err
    return done.err


def test_every_task_has_a_row_with_its_state(doctor):
    done = doctor()
    assert done.code == 0 and not done.err
    assert len([line for line in done.out.splitlines() if "aoft-bench prepare dataset=" in line]) == 19 + 3 + 4
    (svhn,) = lines(done, "svhn")
    assert "can be downloaded   download 1.6 GB, disk 3.2 GB" in svhn and "data/packs/svhn" in svhn
    assert "aoft-bench prepare dataset=svhn data.cache=cache backbone=vit_nano" in svhn
    (sun397,) = lines(done, "sun397")
    assert "put a copy from any mirror into data.manual_dir" in sun397
    (resisc45,) = lines(done, "resisc45")
    assert "by hand" in resisc45 and "NWPU-RESISC45.rar" in resisc45 and "tfds/downloads/manual" in resisc45
    (cub,) = lines(done, "cub")
    assert "not here" in cub and "train.json" in cub and "CUB_200_2011" in cub
    (digits,) = lines(done, "digits")
    assert "can be generated" in digits


def test_a_pack_is_found_then_prepared(doctor, tmp_path):
    make_pack(tmp_path / "data/packs/eurosat", shape=(24, 24))
    (row,) = lines(doctor("dataset=eurosat"), "eurosat")
    assert "pack found" in row and row.endswith("aoft-bench prepare dataset=eurosat data.cache=cache backbone=vit_nano")
    ready = eurosat(tmp_path)
    (row,) = lines(doctor("dataset=eurosat"), "eurosat")
    assert "ready (cached)" in row and "24 x 24 x 3, native" in row
    assert "folder pack eurosat, images .png: " in row and ready.directory.name in row


def test_the_command_that_is_shown_makes_it_ready(doctor, cli, tmp_path):
    (row,) = lines(doctor("dataset=digits"), "digits")
    words = row.partition("aoft-bench prepare ")[2].split()
    assert cli("prepare", *words).code == 0
    (row,) = lines(doctor("dataset=digits"), "digits")
    assert "ready (cached)" in row and "embedded generator digits" in row


def test_what_tfds_has_prepared_is_seen(doctor, tmp_path):
    (tmp_path / "tfds/kitti/3.3.0.incomplete").mkdir(parents=True)
    (row,) = lines(doctor("dataset=kitti"), "kitti")
    assert "can be downloaded" in row
    (tmp_path / "tfds/kitti/3.3.0").mkdir()
    (tmp_path / "tfds/kitti/3.3.0/dataset_info.json").write_text("{}")
    (row,) = lines(doctor("dataset=kitti"), "kitti")
    assert "prepared by TFDS, not cached" in row and "dataset=kitti" in row


def test_a_cache_of_other_images_is_not_called_ready_and_copies_are_counted(doctor, tmp_path):
    old = eurosat(tmp_path)
    images = tmp_path / "data/packs/eurosat/images"
    shutil.copy(images / "train800/000000.png", images / "test/000003.png")
    (row,) = [row for row in lines(doctor("dataset=eurosat"), "eurosat") if old.directory.name in row]
    assert "cached, not in use" in row and "made from other images than its source has now" in row
    new = eurosat(tmp_path)
    (row,) = [row for row in lines(doctor("dataset=eurosat"), "eurosat") if new.directory.name in row]
    assert "ready (cached)" in row and row.endswith("1 of 6 test images are training images too")


def test_places_are_for_those_of_several_tasks_that_read_files(doctor, tmp_path):
    make_pack(tmp_path / "packs/eurosat", shape=(24, 24))
    found = doctor("dataset=eurosat,digits", "data.root=packs")
    assert "pack found" in lines(found, "eurosat")[0] and "can be generated" in lines(found, "digits")[0]
    (row,) = lines(doctor("dataset=digits", "data.root=packs"), "digits")
    assert "data.root=packs cannot act" in row


def test_every_cache_of_a_task_has_a_row(doctor, tmp_path):
    native, small = eurosat(tmp_path), eurosat(tmp_path, size=16)
    rows = {row for row in lines(doctor("dataset=eurosat"), "eurosat")}
    assert len(rows) == 2
    (first,) = (row for row in rows if native.directory.name in row)
    (second,) = (row for row in rows if small.directory.name in row)
    assert "ready (cached)" in first
    assert "cached, not in use" in second and "16 x 16 x 3, squashed by bicubic" in second
    assert "made for another input than 32 pixels" in second
    rows = lines(doctor("dataset=eurosat", "backbone.img_size=16"), "eurosat")
    assert ["ready (cached)" in row for row in rows].count(True) == 1
    assert any("ready (cached)" in row and small.directory.name in row for row in rows)


def test_a_cache_of_another_source_is_not_called_ready(doctor, tmp_path):
    tfds_cache(tmp_path, "eurosat", {"train800": ["a"], "val200": ["b"], "test": ["c"]})
    (row,) = lines(doctor("dataset=eurosat"), "eurosat")
    assert "ready (cached)" in row and "TFDS, generated" in row
    eurosat(tmp_path)
    rows = lines(doctor("dataset=eurosat"), "eurosat")
    assert len(rows) == 2
    assert all("not in use" in row and "data.source=folder or data.source=tfds" in row for row in rows)
    for source, note in (("tfds", "TFDS, generated"), ("folder", "folder pack eurosat")):
        rows = lines(doctor("dataset=eurosat", f"data.source={source}"), "eurosat")
        assert [note in row for row in rows] == ["ready (cached)" in row for row in rows]


def test_a_set_with_json_files_is_found_then_ready_for_the_input_it_was_resized_for(doctor, tmp_path):
    root = make_json_set(tmp_path / "data/packs/cub")
    (row,) = lines(doctor("dataset=cub"), "cub")
    assert "pack found" in row and "data/packs/cub" in row
    prepare(task("cub"), Locations(tmp_path / "cache", root), image_size=32)
    (row,) = lines(doctor("dataset=cub"), "cub")
    assert "ready (cached)" in row and "short side resized by bicubic" in row
    first, second = lines(doctor("dataset=cub", "backbone.img_size=16"), "cub")
    assert "cached, not in use" in first and "pack found" in second


def test_an_unusable_cache_is_a_row_with_the_remedy(doctor, tmp_path):
    damages = {
        "meta.json is missing": lambda folder: (folder / "meta.json").unlink(),
        "meta.json is corrupt": lambda folder: (folder / "meta.json").write_text("{"),
        "has format version 1": lambda folder: (folder / "meta.json").write_text('{"format": 1}'),
        "test.npy is missing": lambda folder: (folder / "test.npy").unlink(),
        "val200_labels.npy is truncated": lambda folder: (folder / "val200_labels.npy").write_bytes(b"\x93NUMPY"),
        "manifest.tsv.gz is missing": lambda folder: (folder / "manifest.tsv.gz").unlink(),
    }
    for says, damage in damages.items():
        ready = eurosat(tmp_path)
        damage(ready.directory)
        done = doctor("dataset=eurosat")
        first, second = lines(done, "eurosat")
        assert done.code == 0 and "unusable cache" in first and "pack found" in second
        assert says in first and "; delete cache/eurosat" in first
        shutil.rmtree(ready.directory)


def test_files_of_a_killed_preparation_are_ignored(doctor, tmp_path):
    (tmp_path / "cache/digits/.0123-4567.partial").mkdir(parents=True)
    (tmp_path / "cache/digits/notes.txt").write_text("")
    (row,) = lines(doctor("dataset=digits"), "digits")
    assert "can be generated" in row


def test_rows_stay_whole_in_a_pipe_and_paths_on_a_narrow_terminal(doctor, tmp_path, monkeypatch):
    ready = eurosat(tmp_path)
    monkeypatch.setenv("COLUMNS", "70")
    (row,) = lines(doctor("dataset=eurosat"), "eurosat")
    assert str(Path("cache/eurosat") / ready.directory.name) in row
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    folded = doctor("dataset=eurosat").out
    assert "…" not in folded and max(map(len, lines(doctor("dataset=eurosat"), "eurosat"))) <= 70


def test_sound_caches_are_verified(doctor, tmp_path):
    ready = eurosat(tmp_path)
    prepare(task("digits"), Locations(tmp_path / "cache"), image_size=32)
    done = doctor("--verify")
    assert done.code == 0 and not done.err
    assert f"eurosat {ready.directory.name}: 15 images whole; a folder pack has no ids" in done.out
    assert ": 1,797 images whole\n" in done.out
    assert len(doctor("--verify", "dataset=eurosat").out.splitlines()) == 1


def test_a_wrong_cache_fails_the_verification_and_the_others_are_still_read(doctor, tmp_path):
    ready, small = eurosat(tmp_path), eurosat(tmp_path, size=16)
    for name in ("test.npy", "train800.npy"):
        path = ready.directory / name
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = doctor("dataset=eurosat", "--verify")
    assert done.code == 2 and f"eurosat {small.directory.name}: 15 images whole" in done.out
    first, second, summary = done.err.splitlines()
    for line, name in ((first, "train800.npy"), (second, "test.npy")):
        assert f"cache/eurosat/{ready.directory.name}/{name} is corrupt" in line and "; delete cache/eurosat/" in line
    assert summary == "aoft_bench: 1 of 2 caches are wrong (named above)"


def test_official_ids_are_verified(doctor, tmp_path):
    ids = official_ids(task("eurosat"))
    assert ids is not None
    ready = tfds_cache(tmp_path, "eurosat", ids)
    done = doctor("--verify", "dataset=eurosat")
    assert done.out == f"eurosat {ready.directory.name}: 6,400 images whole; ids are the official ones\n"
    shutil.rmtree(ready.directory)
    tfds_cache(tmp_path, "eurosat", dict(ids) | {"val200": ids["val200"][::-1]})
    assert "200 of 200 ids of val200 differ" in refused(doctor("--verify", "dataset=eurosat"))


def test_nothing_to_verify_is_an_error(doctor):
    assert "nothing to verify: cache holds no cache of eurosat; prepare one" in refused(
        doctor("--verify", "dataset=eurosat")
    )


def jpeg_copy(folder: Path) -> Path:
    """The pack of eurosat, re-encoded."""
    copy = shutil.copytree(folder / "data/packs/eurosat", folder / "copy/eurosat")
    for path in copy.rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").resize((6, 6)).resize((24, 24)).save(path, "JPEG")
    return copy


def test_two_caches_are_compared_without_naming_the_task(plain, tmp_path):
    first = eurosat(tmp_path).directory
    second = eurosat(tmp_path, jpeg_copy(tmp_path).relative_to(tmp_path).as_posix()).directory
    same = plain("--compare", str(first), str(first))
    assert same.code == 0 and "the same images in the same order with the same labels" in same.out
    done = plain("--compare", str(first), str(second))
    assert done.code == 1 and not done.err and "A and B differ" in done.out
    assert "6 pairs by position and label: mean absolute error by image mean" in done.out
    assert done.out.splitlines()[0] == ("A  eurosat, folder pack eurosat, images .png: 15 images, 24 x 24 x 3, native")


def test_packs_and_sources_are_prepared_and_compared(doctor, tmp_path):
    make_pack(tmp_path / "data/packs/eurosat", shape=(24, 24))
    jpeg_copy(tmp_path)
    assert doctor("--compare", "data/packs/eurosat", "folder", "dataset=eurosat").code == 0
    done = doctor("dataset=eurosat", "--compare", "folder", "copy", "--csv", "pairs.csv")
    assert done.code == 1 and "pairs -> pairs.csv" in done.out
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and all(float(row["mean_absolute_error"]) > 0 for row in rows)
    assert not list(tmp_path.glob("*.partial"))


def test_a_pack_is_prepared_at_the_size_of_the_cache_it_is_compared_with(doctor, tmp_path):
    small = eurosat(tmp_path, size=16).directory
    done = doctor("--compare", str(small), "folder", "dataset=eurosat")
    assert done.code == 0 and done.out.count("16 x 16 x 3, squashed by bicubic") == 2


def test_a_cache_from_tfds_is_compared_with_a_pack(doctor, tmp_path):
    make_pack(tmp_path / "data/packs/eurosat", sizes=dict.fromkeys(SPLITS, 3), shape=(2, 2))
    tfds_cache(tmp_path, "eurosat", {split: ["a", "b", "c"] for split in SPLITS})
    done = doctor("--compare", "tfds", "folder", "dataset=eurosat")
    assert done.code == 1 and "A  eurosat, TFDS, generated: 9 images" in done.out
    assert "3 pairs by position and label: mean absolute error" in done.out


def test_caches_of_two_tasks_of_other_sizes_are_compared_by_digest(plain, tmp_path):
    digits = prepare(task("digits"), Locations(tmp_path / "cache"), image_size=32).directory
    done = plain("--compare", str(eurosat(tmp_path).directory), str(digits))
    assert done.code == 1 and "cached at different sizes (A: 24 x 24 x 3, native; B: 8 x 8 x 1, native)" in done.out


def test_wrong_words_are_refused_in_one_line(plain, doctor, tmp_path):
    cache = str(eurosat(tmp_path).directory)
    assert "unknown flag '--verfy' (did you mean '--verify'?)" in refused(plain("--verfy"))
    assert "expected 2 arguments" in refused(plain("--compare", cache))
    assert "give one" in refused(plain("--verify", "--compare", cache, cache))
    assert "--csv goes with --compare" in refused(plain("--csv", "a.csv"))
    assert "unknown dataset or suite 'eurosatt' (did you mean 'eurosat'?)" in refused(doctor("dataset=eurosatt"))
    assert "cannot read the argument 'eurosat'" in refused(plain("eurosat"))
    assert "unknown option of data 'cach'" in refused(plain("data.cach=a"))


def test_wrong_sides_are_refused_in_one_line(plain, doctor, tmp_path):
    cache = str(eurosat(tmp_path).directory)
    assert "nowhere does not exist; give a cache directory" in refused(plain("--compare", cache, "nowhere"))
    (tmp_path / "file").write_text("")
    assert "file is a file" in refused(plain("--compare", "file", cache))
    assert f"holds some; give one: {cache}" in refused(plain("--compare", cache, "cache/eurosat"))
    assert "'folder' is no cache directory: say which task" in refused(plain("--compare", cache, "folder"))
    assert "say which task it is" in refused(doctor("--compare", cache, "folder", "dataset=eurosat,svhn"))
    assert "is a cache of eurosat, not of svhn" in refused(doctor("--compare", cache, cache, "dataset=svhn"))
    (tmp_path / "empty").mkdir()
    assert "holds no train800.txt" in refused(doctor("--compare", cache, "empty", "dataset=eurosat"))
    assert "digits is generated" in refused(doctor("--compare", "folder", "tfds", "dataset=digits"))
    for name in ("nowhere/pairs.csv", "empty"):
        assert f"--csv {name}: give the name of a file" in refused(plain("--compare", cache, cache, "--csv", name))


def test_a_damaged_side_is_refused_in_one_line(plain, tmp_path):
    ready = eurosat(tmp_path)
    other = eurosat(tmp_path, size=16).directory
    meta = ready.directory / "meta.json"
    text = meta.read_text()
    for content in ("{", "[]", '{"format": 1, "task": "eurosat"}', json.dumps(json.loads(text) | {"classes": 4})):
        meta.write_text(content)
        assert "meta.json" in refused(plain("--compare", str(ready.directory), str(other)))
    meta.unlink()
    assert "meta.json is missing; delete" in refused(plain("--compare", str(ready.directory), str(other)))


def test_help_names_all_flags(plain):
    for flag in ("--help", "-h"):
        done = plain(flag)
        assert done.code == 0 and max(map(len, done.out.splitlines())) <= 120
        for word in ("--verify", "--compare A B", "--csv FILE", "dataset=", "data.cache=DIR", "exit code"):
            assert word in done.out


def test_neither_torch_nor_tensorflow_is_imported(tmp_path):
    eurosat(tmp_path)
    code = """
import sys
from aoft_bench.cli import doctor
for flags in ([], ["--verify"]):
    assert doctor.main([*flags, "dataset=eurosat", "data.cache=cache"]) == 0
print([name for name in ("torch", "pandas", "tensorflow", "tensorflow_datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_folder_whose_name_is_a_terminal_escape_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    _print_table([TaskState("digits", "ready", "1 MB", "packs/\x1b[2J\n", "")])
    assert r"packs/\x1b[2J" in (out := capsys.readouterr().out) and "\x1b" not in out
