"""A whole cell on images of the user's own, by the name that they chose: folders to record, table and doctor."""

from conftest import Command, words
from packs import make_images

from aoft_bench.records.files import read_record


def test_a_cell_on_an_image_folder(nano: dict[str, str], cli: Command, tmp_path) -> None:
    make_images(tmp_path / "own", splits={"train": 10}, classes=("bee", "ant"))
    given = {"dataset": "folder", "dataset.name": "mine", "data.root": "own", "data.cache": "cache"}
    done = cli(*words(nano | given, method="linear", data__train="10"))
    assert done.code == 0 and "linear · mine · vit_nano" in done.out, done.err
    (path,) = (tmp_path / "results").rglob("*.json")
    record = read_record(path)
    assert path.parts[-2] == "mine" and record["data"]["source"] == "image_folder"
    assert record["data"]["class_names"] == ["ant", "bee"] and record["protocol"]["train"] == "train800val200"
    assert record["data"]["sizes"] == {"train800": 8, "val200": 2, "test": 4}
    assert record["data"]["drawn"]["splits"] == ["val200", "test"] and record["data"]["drawn"]["train"] == 10
    table = cli("tables", "results")
    assert "### Own data, 10 training images: ViT-nano" in table.out and "| mine\\* |" in table.out
    about = words(given, data__train="10")
    states = cli("doctor", *about, "backbone=vit_nano")
    assert states.code == 0 and "mine" in states.out and "ready (cached)" in states.out, states.out
    missing = cli("doctor", *about, "data.cache=elsewhere")
    assert "aoft-bench prepare dataset=folder dataset.name=mine data.root=own" in missing.out
