"""The files of figures: names, bytes, pages, and what the command refuses."""

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import Command
from figure_records import drawn, lines, ranked, record, write

from aoft_bench.figures import curves, unchanged
from aoft_bench.figures import write as figures
from aoft_bench.figures.drawing import Drawing
from aoft_bench.figures.style import new_figure
from aoft_bench.figures.write import FEWEST, write_figures
from aoft_bench.results.collect import collect
from aoft_bench.results.figure_index import DrawnFigure, read_index, write_index
from aoft_bench.results.names import LONGEST, slug, stem
from aoft_bench.results.published import Published
from aoft_bench.results.settings import build_comparisons
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

KINDS = ("parameters", "gain", "curves-loss", "cost", "ranks")
SMALL = {"config__backbone__img_size": 112}
TWO_SETTINGS = [
    *ranked(),
    record(50.0, **SMALL),
    record(60.0, method="aoft", **SMALL),
]  # the second has too few tasks to rank
NUMBER = 2 * len(KINDS) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of two settings, drawn by this process alone."""
    root = tmp_path_factory.mktemp("figures")
    write(root, TWO_SETTINGS)
    assert write_figures(root, collect(root), Published()) == NUMBER
    return root / "figures"


def run(root: Path, processes: int, *unwanted: str, **environment: str) -> dict[str, bytes]:
    """The files that a process of its own draws with `processes` processes. unwanted: modules it must not import."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from aoft_bench.figures.write import write_figures\n"
        "from aoft_bench.results.collect import collect\n"
        "from aoft_bench.results.published import Published\n"
        "if __name__ == '__main__':\n"
        f"    write_figures(Path('results'), collect(Path('results')), Published(), {processes})\n"
        f"    assert not {set(unwanted)} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=root.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": os.environ.get("HOME", ""), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in (root / "figures").iterdir()}


def test_what_files_hold(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    kinds = {name.partition("3ep-")[2][7:] for name in files}
    assert kinds == {f"{kind}.{end}" for kind in KINDS for end in ("pdf", "png")} | {
        ""
    }  # README.md, index.json, .drawn.json
    for name, content in files.items():
        if name.endswith(".pdf"):
            assert b"/FontFile2" in content and b"/Type3" not in content  # TrueType, embedded
            assert b"CreationDate" not in content and b"matplotlib" not in content.lower()
        if name.endswith(".png"):
            assert b"Software" not in content and b"Matplotlib" not in content


@pytest.mark.slow
def test_files_are_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    """Whatever the order of the records, the settings of the machine and the number of processes."""
    write(tmp_path / "results", TWO_SETTINGS[::-1])
    style_of_the_machine = tmp_path / "matplotlibrc"
    style_of_the_machine.write_text("font.size: 20\npdf.fonttype: 3\nsavefig.dpi: 50\n")
    assert NUMBER >= 2 * FEWEST  # else one process draws all
    changes = {"MATPLOTLIBRC": str(style_of_the_machine), "PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "1"}
    files = run(tmp_path / "results", 2, "torch", "timm", "wandb", "pytorch_lightning", "hydra", **changes)
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_has_not_changed_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    save = figures.save
    monkeypatch.setattr(figures, "save", lambda figure, path: (drawn.append(path.name), save(figure, path))[1])
    plans = {kind: lambda c, *_, kind=kind: [partial(empty, kind, f"{len(c.rows)} rows")] for kind in ("one", "two")}
    monkeypatch.setattr(figures, "FIGURES", plans)
    write(tmp_path, [record(50.0)])

    def draw() -> int:
        drawn.clear()
        assert write_figures(tmp_path, collect(tmp_path), Published()) == 2
        return len(drawn)

    assert (draw(), draw()) == (2, 0)
    index = read_index(tmp_path / "figures")
    page = (tmp_path / "figures" / "README.md").read_text()
    (tmp_path / "figures" / index[0].files[0]).write_bytes(b"changed")
    (tmp_path / "figures" / index[1].files[1]).unlink()
    assert (draw(), draw()) == (2, 0)
    assert read_index(tmp_path / "figures") == index and (tmp_path / "figures" / "README.md").read_text() == page
    kept = tmp_path / "figures" / ".drawn.json"
    text = kept.read_text()
    for damaged in ("[1]", "[" * 10**5, text.replace(index[0].files[0], "../outside.pdf")):
        kept.write_text(damaged)
        assert draw() > 0 and kept.read_text() == text
    assert draw() == 0
    write(tmp_path, [record(50.0), record(61.0, method="aoft")])
    assert draw() == 2
    monkeypatch.setattr(unchanged, "_code", lambda: "other code")
    assert (draw(), draw()) == (2, 0)


def test_what_is_drawn_from_the_same_has_the_same_key() -> None:
    def key(*values: object) -> str:
        return unchanged.key_of(partial(empty, *values))

    assert key({"b", "a"}, [1.0], {"x": (1, "y")}) == key({"a", "b"}, [1.0], {"x": (1, "y")})
    others = [key(1), key(1.0), key("1"), key(None), key([1]), key((1,)), key([], 1), key([[1]]), key({"a": 1})]
    assert len({*others}) == len(others)
    with pytest.raises(TypeError, match="numbers and texts, got object"):
        key(object())


@pytest.mark.slow
def test_scipy_is_imported_for_a_diagram_only(tmp_path: Path) -> None:
    """It takes as long as three figures."""
    write(tmp_path / "results", [record(50.0)])
    run(tmp_path / "results", 1, "scipy")


def test_the_page_and_the_index_list_every_figure(folder: Path) -> None:
    page, index = (folder / "README.md").read_text(), read_index(folder)
    comparisons = build_comparisons(TWO_SETTINGS)
    names = [f"{stem(one)}-{kind}.png" for one in comparisons for kind in KINDS]
    drawn = [figure.files[1] for figure in index]
    assert drawn == [name for name in names if name in drawn] and len(drawn) == NUMBER
    assert "ranks (too few tasks)" in page and "reliability (no predictions)" in page
    for figure in index:
        pdf, png = figure.files
        assert f"]({png})\n\n[PDF]({pdf}). {figure.caption}" in page
        assert (folder / pdf).is_file() and figure.setting in [one.title for one in comparisons]
    assert index[0].title == f"parameters, {index[0].setting}"
    assert index[0].caption.startswith("Test top-1 on CIFAR-100 (%) against") and index[0].caption.endswith(".")


def empty(name: str, caption: str) -> Drawing:
    """A figure that shows nothing."""
    return Drawing(name, new_figure(1.0), caption)


def test_a_figure_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [record(50.0)])
    monkeypatch.setattr(figures, "FIGURES", {"mine": lambda *_: [partial(empty, "mine", "all that is mine")]})
    assert write_figures(tmp_path, collect(tmp_path), Published()) == 1
    (figure,) = read_index(tmp_path / "figures")
    assert figure.caption == "All that is mine." and figure.title == f"mine, {figure.setting}"
    assert f"]({figure.files[0]}). All that is mine." in (tmp_path / "figures" / "README.md").read_text()
    assert all((tmp_path / "figures" / name).is_file() for name in figure.files)

    # an index from elsewhere removes nothing outside the folder, and a damaged one is replaced
    outside = tmp_path / "mine.txt"
    outside.touch()
    index = tmp_path / "figures" / "index.json"
    for text in (
        json.dumps([{"setting": "", "title": "", "caption": "", "files": ["../mine.txt"]}]),
        "[" * 10**5,
        "[1]",
    ):
        index.write_text(text)
        with pytest.raises(UserError, match=r"index\.json is damaged"):
            read_index(tmp_path / "figures")
        assert write_figures(tmp_path, collect(tmp_path), Published()) == 1
        assert outside.is_file() and read_index(tmp_path / "figures") == [figure]


def test_figures_that_are_not_drawn_any_more_are_removed(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0)])
    (root / "figures").mkdir()
    for name in ("old-gain.pdf", "old-gain.png", "mine.pdf"):
        (root / "figures" / name).touch()
    write_index(root / "figures", [DrawnFigure("", "", "", ["old-gain.pdf", "old-gain.png", "gone.pdf"])])
    assert cli("figures", "results").code == 0
    kept = {path.name for path in (root / "figures").iterdir()} - {"mine.pdf", "README.md", "index.json", ".drawn.json"}
    assert {name.partition("3ep-")[2][7:] for name in kept} == {"curves-loss.pdf", "curves-loss.png"}
    assert (root / "figures" / "mine.pdf").is_file()
    assert "Not drawn: parameters (one method only)" in (root / "figures" / "README.md").read_text()


def test_each_part_of_a_setting_changes_the_names() -> None:
    (table,) = build_comparisons([record(50.0)])
    names = {stem(table)}
    for field in dataclasses.fields(table.setting):
        value = getattr(table.setting, field.name)
        other = not value if isinstance(value, bool) else (0.0,) if isinstance(value, tuple) else type(value)("7")
        names.add(stem(dataclasses.replace(table, setting=dataclasses.replace(table.setting, **{field.name: other}))))
    assert len(names) == 1 + len(dataclasses.fields(table.setting))
    assert stem(table).startswith("vtab1k-vit_b16_in21k-clean-224px-3ep-")
    assert slug("../a b/c: λ") == "a-b-c" and len(slug("x" * 500)) == LONGEST


def test_a_damaged_record_is_named_and_left_out(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0), record(60.0, seed=1, curves={"train_loss": [9.0, 9.0, 9.0]})])
    damaged = next((root / "records").rglob("seed1-*.json"))
    damaged.write_text(damaged.read_text()[:300])
    (root / "verified.json").write_text("{")
    result = cli("figures", "results")
    assert result.code == 0
    assert result.err.count("\n") == 1 and damaged.name in result.err
    page = (root / "figures" / "README.md").read_text()
    assert f"records/vit_b16_in21k/lora/cifar100/{damaged.name}" in page and str(tmp_path) not in page
    assert "- verified.json: " in page  # which rows stand depends on it
    (drawing,) = drawn(curves.plans, collect(root).records)
    assert lines(drawing.figure)["LoRA"][1] == [4.0, 2.0, 1.0]


def test_no_folder_and_no_records_end_in_one_line(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "wrong"):
        result = cli("figures", name)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert f"no records below {name}/records" in result.err and "; run a cell first" in result.err
        assert not (tmp_path / name / "figures").exists()


def test_figures_that_cannot_be_written_end_in_one_line(cli: Command, tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, [record(50.0)])
    (root / "figures").write_text("a file where the folder should be")
    result = cli("figures", "results")
    assert result.code == 2
    assert result.err.count("\n") == 1 and "cannot write" in result.err
