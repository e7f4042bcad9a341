"""`aoft-bench analyze forgetting`: linear CKA against its definition, and what is measured of a trained cell."""

import csv
from pathlib import Path

import pytest
import torch
from conftest import call, words
from torch import Tensor

from aoft_bench.analysis.forgetting import Probe
from aoft_bench.analysis.forgetting_report import standard_error
from aoft_bench.analysis.similarity import linear_cka, mean_cosine


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def dense_cka(x: Tensor, y: Tensor) -> Tensor:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the kernels K = x x^T and L = y y^T, with N x N matrices."""
    n = len(x)
    center = torch.eye(n, dtype=x.dtype) - torch.ones(n, n, dtype=x.dtype) / n
    k, l = center @ (x @ x.T) @ center, center @ (y @ y.T) @ center  # noqa: E741
    return (k * l).sum() / ((k * k).sum() * (l * l).sum()).sqrt()


@pytest.mark.parametrize("shape", [(30, 7), (9, 40)])
def test_linear_cka_is_its_dense_definition(shape: tuple[int, int]) -> None:
    x, y = 3 + drawn(*shape), drawn(shape[0], 5) + drawn(shape[0], 1)
    assert abs(linear_cka(x, y) - dense_cka(x, y)) < 1e-10
    rotation = torch.linalg.qr(drawn(shape[1], shape[1])).Q
    assert abs(linear_cka(x, 0.3 * x @ rotation + 2) - 1) < 1e-10
    assert torch.tensor(linear_cka(x, torch.ones_like(x))).isnan()


def test_mean_cosine_does_not_forgive_rotations() -> None:
    x, y = drawn(6, 4), drawn(6, 5)[:, :4]
    by_hand = sum(float(a @ b / (a.norm() * b.norm())) for a, b in zip(x, y, strict=True)) / 6
    assert abs(mean_cosine(x, y) - by_hand) < 1e-10
    assert abs(mean_cosine(x, 0.5 * x) - 1) < 1e-10
    assert abs(mean_cosine(x, -x) + 1) < 1e-10


def test_the_standard_error_is_that_of_differences_between_images() -> None:
    differences = torch.tensor([1.0] * 3 + [-1.0] * 5 + [0.0] * 12, dtype=torch.float64)
    wanted = 100 * float(differences.std(correction=0)) / 20**0.5
    assert abs(standard_error(Probe("digits", 20, 9, 7, lost=5, gained=3)) - wanted) < 1e-10


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_method_that_changes_features_and_one_that_does_not(tmp_path: Path, nano_pack: dict[str, str]) -> None:
    steps = {"recipe.epochs": "2", "recipe.batch_size": "8", "recipe.warmup_epochs": "0", "recipe.lr": "1e-2"}
    for method in ("vpt_shallow", "linear"):
        done = call(*words(nano_pack | steps | {"method": method}), cwd=tmp_path)
        assert done.code == 0, done.err
    result = call("analyze", "forgetting", "results", "probe=folder", "out=made", cwd=tmp_path)
    assert result.code == 0, result.err
    features, probes = rows_of(tmp_path / "made/features.csv"), rows_of(tmp_path / "made/probes.csv")
    assert [row["place"] for row in features] == 2 * [*"123456", "head"]
    assert {row["images"] for row in features} == {"32"}
    of = {name: [row for row in features if row["row"] == name] for name in ("linear", "vpt_shallow")}
    assert all(abs(float(row[name]) - 1) < 1e-6 for row in of["linear"] for name in ("cka", "cosine"))
    assert all(0 < float(row["cka"]) < 1 - 1e-6 for row in of["vpt_shallow"])
    (same,) = [row for row in probes if row["row"] == "linear"]
    assert (same["images"], same["before"], same["lost"], same["gained"]) == ("8", same["after"], "0", "0")
    assert "| Linear | folder |" in result.out and "No test split was opened" in result.out
    assert {path.suffix for path in (tmp_path / "made/figures").iterdir()} == {".pdf", ".png"}

    # nor is there anything between this network and the pre-trained one
    (path,) = (tmp_path / "results/records/vit_nano/vpt_shallow").rglob("seed*.json")
    refused = call("evaluate", str(path), "alpha=0", cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "aoft_bench: vpt_shallow cannot be merged into its network: what it inserts is not linear, or not in a layer; "
        "docs/methods.md says which methods can be\n"
    )
