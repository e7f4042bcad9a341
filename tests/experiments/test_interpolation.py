"""`aoft-bench evaluate RECORD alpha=...`: weights between the pre-trained network and the trained one."""

from pathlib import Path

import pytest
import torch
from conftest import call, words

from aoft_bench.experiments.interpolation import between
from aoft_bench.experiments.trained_run import merged_state, open_run
from aoft_bench.records.files import read_record


def test_the_ends_are_exact_and_the_head_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    names = ("blocks.0.weight", "head.weight")
    first, second = ({n: torch.randn(3, 4, generator=draw, dtype=torch.float64) for n in names} for _ in "ab")
    second["count"] = first["count"] = torch.tensor(3)
    for alpha in (0.0, 0.3, 1.0):
        found = between(first, second, alpha, {"head.weight"})
        wanted = (1 - alpha) * first["blocks.0.weight"] + alpha * second["blocks.0.weight"]
        assert (found["blocks.0.weight"] - wanted).abs().max() < 1e-10
        assert (found["head.weight"] == second["head.weight"]).all() and found["count"] == 3
    assert (between(first, second, 0, set())["blocks.0.weight"] == first["blocks.0.weight"]).all()
    assert (between(first, second, 1, set())["blocks.0.weight"] == second["blocks.0.weight"]).all()


@pytest.mark.slow
def test_alpha_1_is_the_record_and_alpha_0_the_backbone_under_the_trained_head(
    tmp_path: Path, nano_pack: dict[str, str]
) -> None:
    steps = {"recipe.epochs": "2", "recipe.batch_size": "8", "recipe.warmup_epochs": "0", "recipe.lr": "1e-2"}
    done = call(*words(nano_pack | steps | {"method": "aoft"}), cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results").rglob("seed*.json")
    record = read_record(path)
    result = call("evaluate", str(path), "alpha=0,0.5,1", cwd=tmp_path)
    assert result.code == 0, result.err
    first, *lines, last = result.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["alpha", "0"], ["alpha", "0.5"], ["alpha", "1"]]
    assert lines[2].endswith(f"({record['metrics']['correct']} of 20), as recorded")
    assert "the trained head: test top-1" in first and "choose no alpha by it" in last

    run = open_run(path, record)
    plain = run.backbone()
    head = {name: tensor for name, tensor in merged_state(run, run.trained()).items() if name.startswith("head.")}
    plain.model.load_state_dict(head, strict=False)
    experiment = run.experiment()
    with torch.inference_mode():
        correct = 0
        for images, labels in experiment.score_batches():
            batch = (images.float() / 255 - 0.5) / 0.5
            correct += int((plain.model.eval()(batch).argmax(dim=1) == labels).sum())
    assert f"({correct} of 20)" in lines[0]
