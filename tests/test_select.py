"""Choosing on val200: who wins, what counts as evidence, what is written, and that no test number is ever looked at."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import Command, Result, words
from omegaconf import OmegaConf
from packs import make_pack

from aoft_bench.results.records import read_record
from aoft_bench.tuning.files import set_file, write

ROOT = Path(__file__).resolve().parent.parent
SELECT = "aoft_bench.select"


def record(lr: float, correct: int, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A tuning record of lora on digits; `changes` by path, with __ for the dot."""
    made: dict[str, Any] = {
        "schema": 1,
        "backbone": "vit_nano",
        "method": "lora",
        "dataset": "digits",
        "seed": seed,
        "hash": "0123456789",
        "command": f"python -m aoft_bench method=lora recipe.lr={lr} seed={seed}",
        "finished": "2026-11-20T10:00:00+00:00",
        "protocol": {"name": "tune", "train": "train800", "score": "val200", "epoch": "last"},
        "metrics": {"split": "val200", "top1": 100 * correct / 200, "correct": correct, "total": 200},
        "curves": {"val200_top1": [100 * correct / 200]},
        "parameters": {"trained": 24576, "head": 1290},
        "data": {"fingerprint": "d" * 64, "official": False, "official_note": "", "mean": [0.5] * 3, "std": [0.5] * 3},
        "weights": {"sha256": "a" * 64, "source": "embedded"},
        "precision": "fp32",
        "git": {"commit": "c0ffee", "dirty": False},
        "config": {
            "backbone": {"img_size": 32},
            "data": {"interpolation": "bicubic"},
            "method": {"name": "lora", "rank": 8, "alpha": 8.0, "targets": ["q", "v"]},
            "recipe": {"epochs": 10, "lr": lr, "weight_decay": 1e-4, "warmup_epochs": None},
            "trainer": {},
        },
    }
    for path, value in changes.items():
        *sections, name = path.split("__")
        where = made
        for section in sections:
            where = where[section]
        where[name] = value
    return made


class World:
    """A folder with tuning records and a folder of configurations to write into."""

    def __init__(self, root: Path, cli: Command) -> None:
        self.root, self.cli = root, cli
        self.records = root / "results/tuning/records"
        self.conf = root / "mine"

    def add(self, *made: dict[str, Any], text: Callable[[str], str] = str) -> list[Path]:
        """Write records, each into a file of its own; `text` may damage it."""
        paths = []
        for one in made:
            self.records.mkdir(parents=True, exist_ok=True)
            paths.append(self.records / f"{len(list(self.records.iterdir())):03}.json")
            paths[-1].write_text(text(json.dumps(one)), encoding="utf-8")
        return paths

    def select(self, *given: str) -> Result:
        return self.cli("--conf", "mine", *given, module=SELECT)

    def file(self, method: str = "lora", dataset: str = "digits", name: str = "tuned") -> Path:
        return self.conf / "hparams" / name / method / f"{dataset}.yaml"

    def chosen(self, *given: str) -> Any:
        """What select writes for lora on digits."""
        done = self.select(*given)
        assert done.code == 0, done.err
        return OmegaConf.load(self.file())

    def refused(self, *given: str) -> str:
        """The line that select ends with; nothing may have been written."""
        before = {path: path.read_bytes() for path in self.conf.rglob("*") if path.is_file()}
        done = self.select(*given)
        assert done.code == 2, (done.out, done.err)
        assert "Traceback" not in done.err and not done.out
        assert {path: path.read_bytes() for path in self.conf.rglob("*") if path.is_file()} == before
        (line,) = [line for line in done.err.splitlines() if "left out" not in line]
        assert line.startswith("aoft_bench: ")
        return line


@pytest.fixture
def world(tmp_path: Path, cli: Command) -> World:
    return World(tmp_path, cli)


# who wins


def test_the_best_mean_over_seeds_wins(world: World) -> None:
    """(150 + 170) / 2 = 160 beats (190 + 120) / 2 = 155, though 190 is the largest of all."""
    world.add(record(1e-3, 150), record(1e-3, 170, seed=1), record(3e-3, 190), record(3e-3, 120, seed=1))
    assert world.chosen().recipe.lr == 1e-3
    text = world.file().read_text("utf-8")
    assert "> recipe.lr=0.001: 80.00 ± 7.07, n=2, 24,576 trained" in text  # 10 / sqrt(2)
    assert "  recipe.lr=0.003: 77.50 ± 24.75, n=2" in text  # 35 / sqrt(2)


def test_of_equal_scores_the_smaller_model_wins(world: World) -> None:
    options: dict[str, Any] = {"config__method__rank": 16, "parameters__trained": 49152}
    world.add(record(1e-3, 160, **options), record(3e-3, 160), record(1e-2, 159))
    chosen = world.chosen()
    assert (chosen.method.rank, chosen.recipe.lr) == (8, 3e-3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_of_equal_sizes_the_earlier_grid_point_wins(world: World, order: tuple[int, ...]) -> None:
    """Earlier by value: 9e-4 before 1e-3 before 1e-2, whatever was written or finished first."""
    grid = [record(lr, 160, finished=f"2026-11-20T1{i}:00:00+00:00") for i, lr in enumerate([1e-2, 1e-3, 9e-4])]
    world.add(*(grid[i] for i in order))
    assert world.chosen().recipe.lr == 9e-4


def test_equal_means_are_equal_exactly(world: World) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats; in images both are 120."""
    for lr, counts in ((3e-3, (20, 40, 60)), (1e-3, (60, 40, 20))):
        world.add(*(record(lr, n, seed=seed) for seed, n in enumerate(counts)))
    assert world.chosen().recipe.lr == 1e-3


def test_a_point_that_lacks_a_seed_is_not_in_the_running(world: World) -> None:
    """At 1e-2 the second seed failed or was not run: its 190 says less than two times 150."""
    world.add(record(1e-3, 150), record(1e-3, 150, seed=1), record(1e-2, 190))
    done = world.select()
    assert done.code == 0
    assert "not in the running: recipe.lr=0.01, with seed 0 only" in done.out
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    assert "#   recipe.lr=0.01: 95.00, n=1, 24,576 trained, seed 0 only" in world.file().read_text("utf-8")


def test_no_complete_point_is_an_error(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, seed=1))
    line = world.refused()
    assert "lora on digits: no setting has all of seeds 0, 1" in line
    assert "such as seed 1 of recipe.lr=0.001" in line


def test_the_edge_of_a_grid_is_named(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160))
    assert "tried" not in world.select().out  # of two values each is an edge
    world.add(record(1e-2, 170))
    assert "recipe.lr=0.01 is the highest tried" in world.select().out
    world.add(record(3e-2, 100))
    assert "tried" not in world.select().out


# what counts


class Guarded(dict[str, Any]):
    """A record of a test protocol, whose numbers may not be looked at."""

    touched: ClassVar[list[str]] = []

    def _check(self, key: object) -> None:
        if key in ("metrics", "curves"):
            self.touched.append(str(key))
            raise AssertionError(f"{key} of a record of protocol {dict.__getitem__(self, 'protocol')} was read")

    def __getitem__(self, key: str) -> Any:
        self._check(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._check(key)
        return super().get(key, default)

    def values(self) -> Any:
        return self._check("metrics")

    def items(self) -> Any:
        return self._check("metrics")


def _guard(monkeypatch: pytest.MonkeyPatch) -> None:
    real = json.loads

    def loads(text: str) -> Any:
        found = real(text)
        return Guarded(found) if found["protocol"]["name"] != "tune" else found

    Guarded.touched.clear()
    monkeypatch.setattr(json, "loads", loads)


def test_the_guard_of_the_next_test_works(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = world.add(record(1e-2, 200, protocol__name="clean"))
    _guard(monkeypatch)
    with pytest.raises(AssertionError, match="metrics of a record of protocol"):
        read_record(path)
    assert Guarded.touched == ["metrics"]


def test_test_numbers_are_never_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that beat all others on test lie beside them; the choice and its file are as if they did not."""
    world.add(record(1e-3, 160), record(3e-3, 150))
    world.chosen()
    alone = world.file().read_bytes()
    tempting = {"split": "test", "top1": 100.0, "correct": 797, "total": 797, "best_test_epoch_top1": 100.0}
    for name in ("clean", "literature"):
        world.add(*(record(lr, 200, protocol__name=name, metrics=tempting) for lr in (1e-3, 3e-3, 1e-2)))
    _guard(monkeypatch)
    done = world.select()
    assert done.code == 0, done.err
    assert not Guarded.touched
    assert world.file().read_bytes() == alone
    assert "2 tuning records; 6 records of other protocols left alone" in done.out


DAMAGED: dict[str, tuple[dict[str, Any], Callable[[str], str], str]] = {
    "truncated": ({}, lambda text: text[:200], "is not a whole record"),
    "NaN": ({"metrics__top1": math.nan}, str, "top-1 nan is not that of 199 of 200"),
    "edited": ({"metrics__top1": 100.0}, str, "top-1 100.0 is not that of 199 of 200"),
    "more than all": ({"metrics__correct": 300, "metrics__top1": 150.0}, str, "is not that of 300 of 200"),
    "scored on test": ({"metrics__split": "test"}, str, "was scored on 'test'"),
    "newer schema": ({"schema": 99}, str, "has schema 99"),
    "no rate": ({"config__recipe": None}, str, "config.recipe.epochs is None"),
    "a path for a name": ({"method": "../../../lora"}, str, "cannot be a file's name"),
    "no record": ({}, lambda _: "[1]", "has schema 'list'"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_named_and_left_out(world: World, name: str) -> None:
    changes, text, why = DAMAGED[name]
    world.add(record(1e-3, 150))
    (path,) = world.add(record(1e-2, 199, **changes), text=text)
    done = world.select()
    assert done.code == 0, done.err
    assert f"left out: {path.relative_to(world.root)}" in done.err and why in done.err
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    assert "0.01" not in world.file().read_text("utf-8")


def test_the_same_run_twice_counts_once(world: World) -> None:
    first, _, twin = world.add(record(1e-3, 150), record(3e-3, 160), record(1e-3, 190))
    done = world.select()
    assert f"{twin.name} is of the same run as" in done.err and first.name in done.err
    assert OmegaConf.load(world.file()).recipe.lr == 3e-3


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("backbone", "vit_b16_in21k", ("--backbone vit_b16_in21k (1 record)", "--backbone vit_nano (2 records)")),
        ("weights__sha256", "b" * 64, ("--weights aaaaaaaaaaaa (2", "--weights bbbbbbbbbbbb (1")),
        ("config__backbone__img_size", 64, ("--px 32 (2", "--px 64 (1")),
        ("config__data__interpolation", "bilinear", ("--interpolation bicubic (2", "--interpolation bilinear (1")),
        ("data__mean", [0.0, 0.0, 0.0], ("--normalization 0.5±0.5 (2", "--normalization 0±0.5 (1")),
        ("precision", "bf16", ("--precision bf16 (1", "--precision fp32 (2")),
        ("config__recipe__epochs", 100, ("--epochs 10 (2", "--epochs 100 (1")),
        ("data__fingerprint", "e" * 64, ("--data dddddddddddd (2", "--data eeeeeeeeeeee (1")),
    ],
)
def test_settings_that_cannot_be_compared_are_listed(
    world: World, path: str, value: Any, shown: tuple[str, str]
) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160), record(1e-2, 199, **{path: value}))
    line = world.refused()
    assert "lora on digits have tuning records of 2 settings" in line
    for text in shown:
        assert text in line
    two = next(text for text in shown if "(2" in text).partition(" (")[0].split(" ")
    one = next(text for text in shown if "(1" in text).partition(" (")[0].split(" ")
    assert world.chosen(*two).recipe.lr == 3e-3
    assert "holds the choice for another setting" in world.refused(*one)
    assert world.chosen(*one, "--force").recipe.lr == 1e-2


def test_tasks_may_have_settings_of_their_own(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, dataset="svhn", config__recipe__epochs=100))
    assert world.chosen().recipe.epochs == 10
    assert OmegaConf.load(world.file(dataset="svhn")).recipe.epochs == 100


# what is written


def test_the_file_is_the_same_whatever_came_first(world: World, tmp_path: Path, cli: Command) -> None:
    made = [record(lr, 150, seed=seed) for lr in (1e-3, 3e-3) for seed in (0, 1)]
    other = World(tmp_path / "other", lambda *given, **more: cli(*given, cwd=tmp_path / "other", **more))
    world.add(*made)
    other.add(*({**one, "finished": "2027-01-01T00:00:00+00:00"} for one in reversed(made)))
    world.chosen()
    other.chosen()
    assert world.file().read_bytes() == other.file().read_bytes()
    assert "left out" not in world.select().err


def test_evidence_is_in_the_header(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, git__dirty=True))
    world.chosen()
    header = [line for line in world.file().read_text("utf-8").splitlines() if line.startswith("#")]
    assert header[0] == "# @package _global_"
    assert header[1] == "# Chosen on val200 for lora on digits by aoft_bench.select; used by"
    assert header[2] == "#   python -m aoft_bench method=lora dataset=digits hparams=tuned"
    for text in (
        "backbone vit_nano (weights aaaaaaaaaaaa), 32 px bicubic, normalization 0.5±0.5, fp32, 10 epochs",
        "val200 top-1 in % of 200 images",
        "  recipe.lr=0.001: 75.00, n=1, 24,576 trained",
        "> recipe.lr=0.003: 80.00, n=1, 24,576 trained",
        "commit c0ffee; commit c0ffee, changed since",
        "  python -m aoft_bench method=lora recipe.lr=0.003 seed=0",
    ):
        assert any(text in line for line in header), text


def test_the_body_has_every_value_of_the_chosen_runs(world: World) -> None:
    """Also those that were not tuned: a default may change later. But not the row's name, which is no option."""
    world.add(record(1e-7, 150, config__method__label="lora"), record(3e-3, 100, config__method__label="lora"))
    assert OmegaConf.to_container(world.chosen()) == {
        "method": {"rank": 8, "alpha": 8.0, "targets": ["q", "v"]},
        "recipe": {"epochs": 10, "lr": 1e-7, "weight_decay": 1e-4, "warmup_epochs": None},
    }


def test_a_row_without_a_file_of_its_own_is_asked_for_by_name(world: World) -> None:
    """peft_oft is a row of method=peft: hparams=tuned would look for tuned/peft."""
    world.add(record(1e-3, 150, method="peft_oft", config__method__name="peft"))
    assert world.select().code == 0
    asked = "#   python -m aoft_bench method=peft dataset=digits hparams=tuned/peft_oft/digits\n"
    assert asked in world.file("peft_oft").read_text("utf-8")


def test_new_evidence_replaces_the_file(world: World) -> None:
    world.add(record(1e-3, 150))
    assert world.chosen().recipe.lr == 1e-3
    world.add(record(3e-3, 160))
    assert world.chosen().recipe.lr == 3e-3


@pytest.mark.parametrize(
    ("where", "instead"), [("the only setting: 75.00", "the only setting: 95.00"), ("lr: 0.001", "lr: 1")]
)
def test_an_edited_file_is_kept(world: World, where: str, instead: str) -> None:
    world.add(record(1e-3, 150))
    world.chosen()
    text = world.file().read_text("utf-8")
    assert where in text
    world.file().write_text(text.replace(where, instead), "utf-8")
    line = world.refused()
    assert "digits.yaml was edited since aoft_bench.select wrote it" in line and "--force" in line
    assert "was edited since" in world.refused("--dry-run")
    assert world.chosen("--force").recipe.lr == 1e-3
    assert world.file().read_text("utf-8") == text


def test_a_file_of_another_hand_is_kept_and_so_is_every_other(world: World) -> None:
    world.add(record(1e-3, 150), record(1e-3, 150, dataset="svhn"))
    world.file(dataset="svhn").parent.mkdir(parents=True)
    world.file(dataset="svhn").write_text("# @package _global_\nrecipe:\n  lr: 1.0\n")
    assert "svhn.yaml was not written by aoft_bench.select" in world.refused()
    assert not world.file().exists()


def test_a_dry_run_writes_nothing(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160))
    done = world.select("--dry-run")
    assert done.code == 0
    assert "lora · digits · vit_nano: recipe.lr=0.003, val200 top-1 80.00 %, the best of 2, seed 0" in done.out
    assert "1 file would be written from 2 tuning records" in done.out
    assert not world.conf.exists()


def test_a_file_that_comes_first_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra looks into conf/ before the folder of -cd."""
    world.add(record(1e-3, 150))
    world.chosen()
    monkeypatch.setattr("aoft_bench.select.conf_dir", lambda: world.conf)
    done = world.select("--conf", "other")
    assert f"{world.file()} exists too, and hparams=tuned takes that one first" in done.out
    assert "exists too" not in world.select("--conf", "mine").out


def test_only_what_is_asked_for(world: World) -> None:
    for method in ("lora", "adapter"):
        for dataset in ("digits", "svhn"):
            world.add(record(1e-3, 150, method=method, dataset=dataset))
    assert world.select("--methods", "lora", "--datasets", "svhn,digits").code == 0
    assert {path.relative_to(world.conf).as_posix() for path in world.conf.rglob("*.yaml")} == {
        "hparams/tuned/lora/digits.yaml",
        "hparams/tuned/lora/svhn.yaml",
    }


def test_a_set_of_its_own_keeps_the_choice_for_another_setting(world: World) -> None:
    world.add(record(1e-3, 150), record(3e-3, 160, config__recipe__epochs=100))
    assert world.chosen("--epochs", "10").recipe.lr == 1e-3
    line = world.refused("--epochs", "100")
    assert "holds the choice for another setting" in line and "--as NAME" in line
    assert world.select("--epochs", "100", "--as", "long").code == 0
    ((path, text),) = set_file(world.conf, "long").items()
    assert path.read_text("utf-8") == text
    path.write_text(text.replace("or take", "or perhaps take"))  # as a version before might have worded it
    assert world.select("--epochs", "100", "--as", "long").code == 0
    assert path.read_text("utf-8") == text
    assert OmegaConf.load(world.file(name="long")).recipe.lr == 3e-3
    assert OmegaConf.load(world.file()).recipe.lr == 1e-3
    header = world.file(name="long").read_text("utf-8").splitlines()
    assert header[2] == "#   python -m aoft_bench method=lora dataset=digits hparams=long"


def test_the_set_that_comes_with_conf_is_as_select_writes_it() -> None:
    for path, text in set_file(ROOT / "conf", "embedded").items():
        assert path.read_text("utf-8") == text


@pytest.mark.parametrize("name", ["none", "short", "aoft"])
def test_a_name_that_conf_gives_to_something_else(world: World, name: str) -> None:
    world.add(record(1e-3, 150))
    shutil.copytree(ROOT / "conf/hparams", world.conf / "hparams")
    assert "is not a set of aoft_bench.select's; give another name" in world.refused("--as", name)


# what a user gets wrong


def test_nothing_there(world: World) -> None:
    line = world.refused()
    assert "no tuning records below results/tuning/records (none at all)" in line
    assert "python -m aoft_bench -cd sweeps -cn tune" in line


def test_no_tuning_records(world: World) -> None:
    world.add(record(1e-3, 150, protocol__name="clean"))
    assert "(1 of other protocols, which are not read)" in world.refused()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--methods lorra", "unknown method 'lorra' (did you mean 'lora'?); allowed: lora, adapter"),
        ("--datasets digitz", "unknown dataset 'digitz' (did you mean 'digits'?); allowed: digits, svhn"),
        ("--methods adapter --datasets digits", "unknown dataset 'digits'; allowed: svhn"),
        ("--epochs 11", "unknown epochs '11'"),
        ("--backbone vit_nani", "unknown backbone 'vit_nani' (did you mean 'vit_nano'?)"),
        ("--as ../lora", "--as takes a name of letters, digits and _, not '../lora'"),
        ("--fast", "unrecognized arguments: --fast; see python -m aoft_bench.select --help"),
        ("--epochs", "expected one argument"),
    ],
)
def test_wrong_words(world: World, given: str, expected: str) -> None:
    world.add(record(1e-3, 150), record(1e-3, 150, method="adapter", dataset="svhn"))
    assert expected in world.refused(*given.split())


def test_a_folder_that_cannot_be_written(world: World) -> None:
    world.add(record(1e-3, 150))
    (world.root / "file").write_text("no folder")
    line = world.refused("--conf", "file/conf")
    assert "cannot write to file/conf/hparams/tuned/lora" in line and "--conf DIR" in line


def test_a_folder_in_the_place_of_the_file(world: World) -> None:
    world.add(record(1e-3, 150))
    world.file().mkdir(parents=True)
    assert "cannot read mine/hparams/tuned/lora/digits.yaml" in world.refused()


# the whole way, with true runs


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A pack, and the options of a cell on it."""
    root = tmp_path_factory.mktemp("tuned")
    make_pack(root / "pack")
    return root, nano | {"dataset": "folder", "data.root": "pack", "data.cache": "cache"}


def test_tune_select_and_use(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    """hparams=tuned is the chosen run: under protocol=tune its cell has the same hash, and is found done."""
    root, options = tuned
    grid = {"method": "lora_matched", "recipe.lr": "1e-3,2e-2", "recipe.weight_decay": "0.0", "method.alpha": "2.0"}
    done = cli("-cd", str(ROOT / "sweeps"), "-cn", "tune", *words(options | grid), cwd=root)
    assert done.code == 0, done.err
    paths = sorted((root / "results/tuning").rglob("*.json"))
    assert len(paths) == 2
    assert not (root / "results/records").exists(), "tuning stays apart from results"
    best = max(
        (read_record(path) for path in paths),
        key=lambda made: (made["metrics"]["correct"], -made["config"]["recipe"]["lr"]),
    )
    ask = {"method": "lora_matched", "hparams": "tuned", "recipe.epochs": "1"}
    for name in ("of_its_own", "tuned"):
        ask["hparams"] = name
        chosen = cli("--conf", "mine", "--as", name, module=SELECT, cwd=root)
        assert chosen.code == 0, chosen.err
        again = cli("-cd", "mine", *words(options | ask, protocol="tune", results__root="results/tuning"), cwd=root)
        assert again.code == 0, again.err
        assert "(done before)" in again.out and best["hash"] in again.out
    clean = cli("-cd", "mine", *words(options | ask), cwd=root)
    assert clean.code == 0, clean.err
    (path,) = (root / "results/records").rglob("*.json")
    made = read_record(path)
    assert made["config"]["method"] == best["config"]["method"]
    assert made["config"]["recipe"] == best["config"]["recipe"]
    assert (made["protocol"]["name"], made["metrics"]["split"]) == ("clean", "test")


def test_what_is_not_tuned_is_said_in_a_line(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    """In a set of one's own too, where the commands are those that fill it."""
    root, options = tuned
    write(set_file(root / "sets", "long"))
    for name, select in (
        ("tuned", "`python -m aoft_bench.select`"),
        ("long", "`python -m aoft_bench.select --as long`"),
    ):
        done = cli("-cd", "sets", *words(options, method="adapter", hparams=name), cwd=root)
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert "nothing is tuned for adapter on folder yet" in line
        assert "python -m aoft_bench -cd sweeps -cn tune method=adapter dataset=folder" in line
        assert select in line and "hparams=none" in line


def test_a_grid_key_that_does_not_exist(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    root, options = tuned
    sweeps = str(ROOT / "sweeps")
    done = cli("-cd", sweeps, "-cn", "tune", *words(options, method="lora", recipe__lrr="1,2"), cwd=root)
    assert done.code == 2
    assert "unknown option of recipe 'lrr' (did you mean 'lr'?)" in done.err


@pytest.mark.parametrize("key", ["recipe.lrr", "method.rnk", "sed"])
def test_a_grid_key_of_a_file_that_does_not_exist(
    tuned: tuple[Path, dict[str, str]], cli: Command, tmp_path: Path, key: str
) -> None:
    root, options = tuned
    lines = ["defaults:", "  - config", "  - _self_", "hydra:", "  mode: MULTIRUN", "  sweeper:", "    params:"]
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, f"      {key}: 1,2", ""]))
    done = cli("-cd", str(tmp_path), "-cn", "mine", *words(options, method="lora"), cwd=root)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("aoft_bench: ") and key in line
