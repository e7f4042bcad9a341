"""`aoft-bench analyze` on a backbone and on trained cells: numbers, figures, and what it refuses."""

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import record_cases
from conftest import Command, call, words
from safetensors.torch import load_file

from aoft_bench.analysis.inputs import of_records
from aoft_bench.analysis.matrices import factor_matrices
from aoft_bench.analysis.measures import measure, spectral_norm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, nano_pack: dict[str, str]) -> Path:
    """A folder with results/ of LoRA, AOFT without lambda and a linear probe, a few steps each on a small pack."""
    root = tmp_path_factory.mktemp("cells")
    steps = {"recipe.epochs": "2", "recipe.batch_size": "8", "recipe.warmup_epochs": "0"}
    for method, more in (
        ("lora", {}),
        ("aoft", {"method.learn_lambda": "false", "method.init": "zero", "method.constant": "paper"}),
        ("linear", {}),
    ):
        result = call(*words(nano_pack | steps | {"method": method} | more), cwd=root)
        assert result.code == 0, result.err
    return root


def record_of(root: Path, method: str) -> Path:
    (path,) = (root / "results/records/vit_nano" / method).rglob("*.json")
    return path


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "orthogonality.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def analysed(cells: Path) -> Path:
    result = call("analyze", "results", "out=analysis", cwd=cells)
    assert result.code == 0, result.err
    assert "left out: 1 records of methods that have no W_down and W_up: linear" in result.err
    assert "LoRA+AOFT† down" in result.out
    return cells / "analysis"


def test_a_backbone_alone(cli: Command, tmp_path: Path, nano_weights: Path):
    checkpoint = f"backbone.checkpoint={nano_weights}"
    result = cli("analyze", "backbone=vit_nano", "backbone.name=mine", checkpoint, "out=made")
    assert result.code == 0, result.err
    rows = rows_in(tmp_path / "made")
    assert len(rows) == 6 * 6 * 2  # blocks, matrices, rows and columns
    assert {row["backbone"] for row in rows} == {"mine"}
    assert {row["state"] for row in rows} == {"pretrained"} and {row["setting"] for row in rows} == {""}
    weight = load_file(nano_weights)["blocks.2.mlp.fc1.weight"].double().numpy()  # (out, in)
    (row,) = [r for r in rows if (r["layer"], r["matrix"], r["vectors"]) == ("2", "fc1", "columns")]
    assert (row["count"], row["length"], row["fit"]) == ("512", "128", "no")
    assert float(row["spectral_norm"]) == pytest.approx(spectral_norm(weight), rel=1e-3)
    assert float(row["coherence"]) == pytest.approx(measure(weight).coherence, rel=1e-3)
    assert float(row["gaussian_std_angle"]) == pytest.approx(math.degrees(1) / math.sqrt(128), rel=0.01)
    digest = hashlib.sha256(nano_weights.read_bytes()).hexdigest()[:6]
    figures = {path.name for path in (tmp_path / "made/figures").iterdir()}
    assert figures == {f"mine-{digest}-{n}.{kind}" for n in ("angles", "spectral-norms") for kind in ("pdf", "png")}


def test_a_folder_holds_starts_trained_ones_and_the_backbone(analysed: Path):
    rows = rows_in(analysed)
    assert {(row["row"], row["state"]) for row in rows} == {
        ("", "pretrained"),
        *((method, state) for method in ("aoft", "lora") for state in ("start", "trained")),
    }
    starts = [r for r in rows if (r["row"], r["state"], r["part"], r["vectors"]) == ("lora", "start", "up", "rows")]
    assert len(starts) == 6 * 2  # blocks, q and v
    assert all((r["zero"], r["pairs"], r["coherence"], r["spectral_norm"]) == ("8", "0", "", "0") for r in starts)
    trained = [r for r in rows if (r["row"], r["state"], r["part"], r["vectors"]) == ("lora", "trained", "up", "rows")]
    assert all((r["zero"], r["pairs"], r["fit"]) == ("0", "28", "yes") for r in trained)
    unit = [
        r for r in rows if (r["row"], r["state"], r["vectors"]) == ("aoft", "start", "columns") and r["fit"] == "yes"
    ]
    assert unit and all(float(r["mean_abs_from_90"]) < 1e-3 and float(r["gram_raw"]) < 1e-5 for r in unit)
    updates = [r for r in rows if r["part"] == "update"]
    assert len(updates) == 2 * 6 * (2 + 4) and all(r["vectors"] == "" for r in updates)
    assert all(float(r["spectral_norm"]) < 1e-5 for r in updates if r["state"] == "start")
    assert all(float(r["spectral_norm"]) > 1e-5 for r in updates if r["state"] == "trained")


def test_the_start_is_the_one_of_the_run(cells: Path):
    """AOFT without lambda saves the vectors that it started from; the first column of AO(q) is q."""
    path = record_of(cells, "aoft")
    state = load_file(path.with_suffix(".safetensors"))
    (start,) = [one for one in of_records([path], None).sets if one.state == "start"]
    down = {(m.layer, m.name): m.values for m in start.matrices if m.part == "down"}
    for layer, name, place in ((0, "q", "attn.qkv"), (5, "fc2", "mlp.fc2")):
        saved = state[f"blocks.{layer}.{place}.updates.{name}.q_down_start"].double().numpy()
        assert (down[layer, name][:, 0] == saved).all()


def test_the_trained_values_are_those_of_the_file(cells: Path):
    path = record_of(cells, "lora")
    state = load_file(path.with_suffix(".safetensors"))
    (trained,) = [one for one in of_records([path], None).sets if one.state == "trained"]
    up = {(m.layer, m.name): m.values for m in trained.matrices if m.part == "up"}
    assert (up[3, "v"] == state["blocks.3.attn.qkv.updates.v.b"].double().numpy().T).all()


def test_every_figure_is_listed_with_its_caption(analysed: Path):
    text = (analysed / "summary.md").read_text(encoding="utf-8")
    names = {path.stem for path in (analysed / "figures").iterdir()}
    assert len(names) == 2 + 4  # of the backbone, of the setting
    assert all(f"figures/{name}: " in text for name in names)


def test_a_backbone_that_is_not_here_is_left_out(cells: Path, nano_weights: Path, tmp_path: Path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(nano_weights.read_bytes() + b" ")
    checkpoint = f"backbone.checkpoint={other}"
    result = call("analyze", str(record_of(cells, "lora")), checkpoint, "out=left", cwd=cells)
    assert result.code == 0
    assert "other.safetensors is not the weight file that is meant" in result.err
    assert {row["state"] for row in rows_in(cells / "left")} == {"start", "trained"}


def refused(result, *parts: str) -> None:
    assert result.code == 2 and result.out == ""
    (line,) = result.err.strip().splitlines()
    assert line.startswith("aoft_bench: ")
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    "given, parts",
    [
        ([], ["nothing to analyse", "backbone=NAME"]),
        (["out=x"], ["nothing to analyse"]),
        (["backbone=vit_nani"], ["vit_nani", "vit_nano"]),
        (["backbone=vit_nano", "backbone.checkpoint=gone.pth"], ["no file gone.pth"]),
        (["backbone=vit_ti16_file"], ["without a tag"]),
        (["backbne=vit_nano"], ["backbne", "did you mean 'backbone'"]),
        (["backbone=vit_nano", "out="], ["out has no value"]),
        (["backbone.name=x"], ["give that too"]),
        (["gone.json"], ["no record gone.json"]),
        (["."], ["no records below ."]),
    ],
)
def test_wrong_words_end_in_one_line(cli: Command, tmp_path: Path, given: list[str], parts: list[str]):
    refused(cli("analyze", *given), *parts)
    assert not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_looked_at_ends_in_one_line(cells: Path, tmp_path: Path):
    refused(call("analyze", str(record_of(cells, "linear")), cwd=tmp_path), "linear has no W_down", "lora")
    path = tmp_path / record_of(cells, "lora").name
    shutil.copy(record_of(cells, "lora"), path)
    refused(call("analyze", str(path), cwd=tmp_path), f"{path.stem}.safetensors is not here", "run it again")
    trained = path.with_suffix(".safetensors")
    whole = record_of(cells, "lora").with_suffix(".safetensors").read_bytes()
    trained.write_bytes(whole[: len(whole) // 2])
    refused(call("analyze", str(path), cwd=tmp_path), f"{path.stem}.safetensors is damaged")
    shutil.copy(record_of(cells, "aoft").with_suffix(".safetensors"), trained)
    refused(call("analyze", str(path), cwd=tmp_path), f"{path.stem}.safetensors is not what the run saved")
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    refused(call("analyze", str(path), cwd=tmp_path), f"{path.name}: is not a whole record")
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_in_a_folder_what_is_damaged_is_left_out_and_the_rest_gives_the_same_bytes(
    cells: Path, analysed: Path, tmp_path: Path
):
    shutil.copytree(cells / "results", tmp_path / "results")
    made = json.loads(record_of(cells, "lora").read_text())
    made["seed"] = made["config"]["seed"] = 9
    damaged = record_cases.write(tmp_path / "results", made)
    damaged.with_suffix(".safetensors").write_bytes(b"no")
    result = call("analyze", "results", "out=made", cwd=tmp_path)
    assert result.code == 0
    assert f"left out: {damaged.with_suffix('.safetensors').relative_to(tmp_path)} is damaged" in result.err
    first = {p.relative_to(analysed): p.read_bytes() for p in analysed.rglob("*") if p.is_file()}
    made = tmp_path / "made"
    assert len(first) > 2
    assert first == {p.relative_to(made): p.read_bytes() for p in made.rglob("*") if p.is_file()}


def test_where_all_of_a_folder_is_damaged_nothing_is_written(cells: Path, tmp_path: Path):
    path = tmp_path / "records/lora" / record_of(cells, "lora").name
    path.parent.mkdir(parents=True)
    shutil.copy(record_of(cells, "lora"), path)
    result = call("analyze", str(tmp_path), "out=made", cwd=tmp_path)
    assert result.code == 2 and "none of these records" in result.err.splitlines()[-1]
    assert not (tmp_path / "made").exists()


def test_the_matrices_of_the_command_are_those_of_the_handle(cells: Path):
    """An independent way to the same numbers: the cell built as `evaluate` builds it."""
    import torch

    from aoft_bench import methods
    from aoft_bench.config.schema import from_dict
    from aoft_bench.records.files import read_record
    from aoft_bench.training.model import build_model

    path = record_of(cells, "lora")
    record = read_record(path)
    handle = build_model(
        from_dict(record["config"], methods.get), record["data"]["classes"], torch.device("cpu")
    ).handle
    handle.load_state_dict(load_file(path.with_suffix(".safetensors")))
    (trained,) = [one for one in of_records([path], None).sets if one.state == "trained"]
    for mine, theirs in zip(factor_matrices(handle), trained.matrices, strict=True):
        assert (mine.layer, mine.name, mine.part) == (theirs.layer, theirs.name, theirs.part)
        assert (mine.values == theirs.values).all()
