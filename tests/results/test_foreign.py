"""`aoft-bench tables foreign=FILE`: numbers of others beside ours, in the same statistics, marked."""

from pathlib import Path

from conftest import Command
from record_cases import markdown_rows, record, write

from aoft_bench.results.foreign import foreign_tables, read_foreign
from aoft_bench.results.settings import build_comparisons

TASKS = ["cifar100", "svhn", "dtd", "eurosat", "kitti", "dmlab"]
PACK = {"data__official": False, "data__source": "folder"}


def foreign_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["method,task,seed,top1,source", *lines]) + "\n")
    return path


def test_they_are_ranked_with_ours_and_marked(tmp_path: Path) -> None:
    """Six tasks: theirs are above lora on five and above aoft on all; what we have no task for is cut."""
    theirs = [f"Super,{name},{seed},{62 + seed},a paper" for name in TASKS[1:] for seed in (0, 2)]
    file = foreign_csv(tmp_path / "x.csv", *theirs, "Super,cifar100,0,59,a paper", "Super,cub,0,1,a paper")
    records = [record(v, name, m, **PACK) for m, v in (("lora", 61.0), ("aoft", 50.0)) for name in TASKS]
    accuracy, ranks, paired = foreign_tables(build_comparisons(records), read_foreign(file), "x.csv")
    (block,) = accuracy.blocks
    assert [row[0].text for row in block.rows] == ["LoRA+AOFT†", "LoRA", "Super (not ours)"]
    last = block.rows[-1]
    assert (last[0].note, accuracy.notes[-1]) == ("1", "Not ours: [1] a paper.")
    by_name = {column.name: entry for column, entry in zip(accuracy.columns, last, strict=True)}
    assert by_name.keys() == {"method", "mean", "mean of groups", *TASKS}
    assert (by_name["svhn"].text, by_name["svhn"].seeds, by_name["svhn"].mark) == ("63.0", (0, 2), "best")
    assert [(row[0].text, row[1].text) for row in ranks.blocks[0].rows] == [
        *(("Super (not ours)", "1.17"), ("LoRA", "1.83"), ("LoRA+AOFT†", "3.00")),
    ]
    assert [[entry.text for entry in row[:6]] for row in paired.blocks[0].rows] == [
        ["LoRA+AOFT†", "LoRA", "6", "0", "0", "6"],
        ["LoRA+AOFT†", "Super (not ours)", "6", "0", "0", "6"],
    ]


def test_a_method_of_two_sources_is_two_rows(tmp_path: Path) -> None:
    rows = read_foreign(foreign_csv(tmp_path / "x.csv", "A,dtd,0,1,one", "A,dtd,0,2,two", "B,dtd,0,3,one"))
    assert [row.label for row in rows] == ["A (not ours, one)", "A (not ours, two)", "B (not ours)"]


def test_they_are_in_files_of_their_own(tmp_path: Path, cli: Command) -> None:
    for seed in (0, 1):
        write(tmp_path / "results", record(60.0, seed=seed))
    write(tmp_path / "results", record(70.0, protocol__name="tune", metrics__split="val200"))
    assert cli("tables").code == 0
    tables = tmp_path / "results/tables"
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    foreign_csv(tmp_path / "x.csv", 'Super,cifar100,0,59.9,"=a, paper"')
    done = cli("tables", "foreign=x.csv")
    assert done.code == 0 and "Super (not ours)" in done.out
    assert {path.name: path.read_bytes() for path in tables.iterdir() if path.name in before} == before
    names = {path.name for path in tables.iterdir()} - before.keys()
    assert names == {"foreign.md", "foreign.tex", "foreign.html", "foreign_wide.csv", "foreign_long.csv"}
    methods = [row[0] for row in markdown_rows((tables / "foreign.md").read_text())]
    assert methods.count("LoRA") == 2 and "Super (not ours) [1]" in methods  # in one setting: val200 is no result
    assert cli("tables").code == 0 and not (tables / "foreign.md").exists()
