"""Orders of settings learned from other tasks."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tuning_records import World, record

from aoft_bench.tuning.evidence import read_evidence
from aoft_bench.tuning.portfolio import SIZE, portfolio
from aoft_bench.utils.errors import UserError

RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
SETTINGS = {f"recipe.lr={rate:g}": {"recipe.lr": rate} for rate in RATES}
AT = {"method": "lora", "backbone": "vit_nano", "dataset": "digits"}
# images of 200 that are right, by rate
SCORES = {
    "svhn": [100, 120, 160, 150, 100, 90],
    "dtd": [60, 80, 100, 140, 90, 50],
    "cifar100": [20, 20, 30, 40, 100, 60],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    world = World(tmp_path, None)  # type: ignore[arg-type]
    for dataset, scores in SCORES.items():
        world.add(*(record(rate, score, dataset=dataset) for rate, score in zip(RATES, scores, strict=True)))
    world.add(*(record(rate, 10 + 30 * number) for number, rate in enumerate(RATES)))  # of the task at hand
    return tmp_path / "results/tuning"


def found(root: Path, **changes: Any) -> Any:
    return portfolio(read_evidence(root), SETTINGS, **(AT | changes))


def test_the_settings_that_do_best_together_come_first(root: Path) -> None:
    """Points behind the best of svhn, dtd, cifar100: 3e-3 (5, 0, 30) is the nearest to all. Beside it 1e-2 (30, 25, 0)
    brings the mean from 35/3 to 5/3, and 1e-3 (0, 20, 35) then to 0. What is left is in the order of its own means."""
    made = found(root)
    assert (
        made.settings == [f"recipe.lr={rate:g}" for rate in (3e-3, 1e-2, 1e-3, 3e-4, 3e-2)]
        and len(made.settings) == SIZE
    )
    assert (made.tasks, made.records, made.behind) == (["cifar100", "dtd", "svhn"], 18, 0.0)
    assert str(made) == (
        "the 5 settings that together do best on cifar100, dtd, svhn (18 tuning records), 0.00 points behind the best "
        "of each on average"
    )


def test_the_task_at_hand_is_left_out(root: Path) -> None:
    """On digits the highest rate is far the best. Where digits counts, it is among the first two."""
    assert found(root).settings.index("recipe.lr=0.03") == 4
    assert found(root, dataset="svhn").settings[:2] != found(root).settings[:2]
    assert found(root, dataset="svhn").tasks == ["cifar100", "digits", "dtd"]


def test_a_setting_without_records_counts_as_the_worst(root: Path) -> None:
    """On two of three tasks a rate was not run: it is taken to be as far behind as the worst there."""
    world = World(root.parents[1], None)  # type: ignore[arg-type]
    world.add(record(1e-1, 180, dataset="svhn"))
    more = SETTINGS | {"recipe.lr=0.1": {"recipe.lr": 1e-1}}
    made = portfolio(read_evidence(root), more, **AT)
    assert made.settings[:2] == ["recipe.lr=0.003", "recipe.lr=0.01"] and "recipe.lr=0.1" in made.settings[2:]


@pytest.mark.parametrize("changes", [{"method": "aoft"}, {"backbone": "vit_b16_in21k"}])
def test_records_of_another_method_or_network_are_none(changes: Any, root: Path) -> None:
    with pytest.raises(UserError, match="there are no finished tuning records of these settings") as raised:
        found(root, **changes)
    assert "start=grid" in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_test_numbers_and_stopped_trials_are_not_read(root: Path) -> None:
    before = found(root)
    world = World(root.parents[1], None)  # type: ignore[arg-type]
    world.add(*(record(rate, 200, dataset="svhn", protocol__name="clean") for rate in RATES))
    trial = {"rung": 1, "rungs": [1, 10], "trials": [6, 2]}
    path, *_ = world.add(record(1e-4, 200, dataset="pets", trial=trial))
    stopped = root / "stopped" / path.relative_to(root / "records")
    stopped.parent.mkdir(parents=True)
    path.rename(stopped)
    assert len(read_evidence(root).stopped) == 1
    assert found(root) == before


def test_it_runs_without_torch_and_optuna(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import aoft_bench.tuning.journal, aoft_bench.tuning.portfolio as p;"
        "from aoft_bench.tuning.evidence import read_evidence as r;"
        f"p.portfolio(r(Path({str(root)!r})), {SETTINGS!r}, **{AT!r});"
        "sys.exit(any(name in sys.modules for name in ('torch', 'optuna')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
