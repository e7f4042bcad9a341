"""Classes without training images are said where there are few images. tests/cli/test_wrong_data.py has refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aoft_bench.data.prepared_task import Split
from aoft_bench.experiments import experiment as module
from aoft_bench.experiments.classes import check_classes
from aoft_bench.records.protocols import PROTOCOLS
from aoft_bench.utils.errors import UserError


def task_of(labels: list[int]) -> Any:
    """A task of VTAB with four classes and these training labels."""
    split = Split(np.empty(0), np.array(labels))
    task = SimpleNamespace(suite="vtab1k")
    return SimpleNamespace(task=task, classes=4, class_names=("a", "b", "c", "d"), train=lambda name: split)


def test_they_are_said_where_there_are_fewer_than_ten_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    """As in VTAB's 1,000 images of SUN397's 397 classes."""
    check_classes(task_of([0, 1, 2, 3]), "train800", "sct", "a cell")
    check_classes(task_of([0] * 30 + [2] * 9), "train800", "sct", "a cell")
    said = "2 of 4 classes have no image in train800, the first is class 1 ('b'); sct chooses by the others"
    assert capsys.readouterr().err == f"aoft_bench: a cell: {said}\n"
    with pytest.raises(
        UserError, match="^sct chooses what it trains by .*, but 2 of 4 classes have no image in train8"
    ):
        check_classes(task_of([0] * 30 + [2] * 10), "train800", "sct", "a cell")


@pytest.mark.parametrize(("shots", "split"), [(None, "train800val200"), (2, "train800")])
def test_the_split_that_trains_is_looked_at(monkeypatch: pytest.MonkeyPatch, shots: int | None, split: str) -> None:
    """With `data.shots` that is train800, whatever the protocol."""
    looked_at: list[str] = []
    monkeypatch.setattr(module, "check_classes", lambda prepared, name, *rest: looked_at.append(name))
    monkeypatch.setattr(module, "build_model", lambda *arguments, **options: None)
    method = SimpleNamespace(name="gps", options=SimpleNamespace(prepares=True), label="gps")
    config: Any = SimpleNamespace(
        data=SimpleNamespace(shots=shots),
        method=method,
        dataset=SimpleNamespace(name="own"),
        backbone=SimpleNamespace(name="vit"),
        seed=0,
    )
    task: Any = SimpleNamespace(classes=2)
    made = module.Experiment(config, PROTOCOLS["clean"], task, Path(), "", torch.device("cpu"), "fp32", "")
    made.build_model()
    assert looked_at == [split]
