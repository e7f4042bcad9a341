"""The page as a file: what is on it, what is not, and that nothing in a record can break out of it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from PIL import Image
from report_records import make, several, write

from aoft_bench.data.tasks import TASKS
from aoft_bench.report import embed, view
from aoft_bench.report.page import render, write_report
from aoft_bench.results.figure_index import DrawnFigure, write_index
from aoft_bench.results.table import Entry
from aoft_bench.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
EVIL = """</script></style><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'"&lt;<!--\u2028"""


class Page(HTMLParser):
    """Elements, texts by element, and the JSON of a page, as a browser's parser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def held(text: str, name: str) -> Any:
    """The JSON of one of the page's data elements."""
    (found,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def unpacked(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What cells.js makes of the packed records."""
    found = []
    for packed in data["records"]:
        record = {key: data["pool"][value] if key in data["shared"] else value for key, value in packed.items()}
        record["config"] = {key: data["pool"][place] for key, place in packed["config"].items()}
        found.append(record)
    return found


def test_the_page_is_the_same_for_the_same_records(tmp_path: Path) -> None:
    write(tmp_path / "a", several())
    write(tmp_path / "b", several()[::-1])
    pages = [write_report(tmp_path / name).path.read_bytes() for name in ("a", "b", "a")]
    assert pages[0] == pages[1] == pages[2]


def test_it_holds_every_record_whole() -> None:
    records = several()
    assert unpacked(held(render(records, [], [], []), "data")) == records


def test_shared_sections_are_held_once() -> None:
    packed = embed.pack([make(seed=seed) for seed in range(50)])
    assert [value for value in packed["pool"] if value == make()["versions"]] == [make()["versions"]]
    assert len(json.dumps(packed)) < len(json.dumps([make(seed=seed) for seed in range(50)])) / 2


def entries(section: view.ShownSetting) -> dict[str, dict[str, Entry]]:
    """Label of a row -> header of a column -> what stands there."""
    headers = [column.header for column in section.columns]
    return {line.entries[0].text: dict(zip(headers, line.entries, strict=True)) for line in section.lines}


def test_settings_are_tables_of_their_own_and_marks_stay_inside_them() -> None:
    big, small = view.sections(several())
    assert list(entries(big)) == ["Linear", "LoRA+AOFT†", "LoRA"] and len(small.lines) == 1
    column = [row["CIFAR-100"] for row in entries(big).values()]
    # lora is the mean of 60.0 and 62.0; aoft's 61.04 prints 61.0 too; the 90.0 of the other setting takes no part
    assert [(entry.text, entry.mark) for entry in column] == [("40.0", "second"), ("61.0", "best"), ("61.0", "best")]
    assert entries(small)["LoRA"]["CIFAR-100*"].mark == ""
    assert [entry.position for entry in column] == [0.0, 1.0, 1.0]
    assert big.anchor != small.anchor


def test_a_cell_says_its_spread_and_knows_its_records() -> None:
    lora = entries(view.sections(several())[0])["LoRA"]
    assert lora["CIFAR-100"].spread == "1.4"  # sample deviation of 60 and 62 is the root of 2
    assert [record["seed"] for record in lora["CIFAR-100"].records] == [0, 1]
    assert (lora["SVHN"].text, lora["SVHN"].number, lora["SVHN"].records) == ("missing", None, ())
    assert lora["mean"].text == "missing"  # never over an incomplete row


def test_the_field_s_layout_is_that_of_the_files_with_scores_first() -> None:
    (section,) = view.sections([make(dataset=name) for name, task in TASKS.items() if task.suite == "vtab1k"])
    assert section.groups == [("", 1), ("Natural", 8), ("Specialized", 5), ("Structured", 9), ("", 4)]
    assert [column.name for column in section.columns][-4:] == [
        *("mean", "mean of groups"),
        *("trained (M)", "with head (M)"),
    ]
    assert section.upright


def test_the_best_test_epoch_is_shown_as_what_it_is() -> None:
    literature = {"protocol__name": "literature", "metrics__best_test_epoch_top1": 71.26}
    text = render([make(correct=7000, **literature)], [], [], [])
    assert '<span class="value">70.0</span> <span class="spread">[best test epoch 71.3]</span>' in text


def test_chips_name_every_value_in_its_order_and_count_its_rows() -> None:
    chips = view.chips(view.sections([*several(), make(config__recipe__epochs=20, correct=1)]))
    assert list(chips) == ["image size", "epochs", "data"]  # of the others there is one value, and no choice
    assert chips["image size"] == [("112 px", 1), ("224 px", 4)]
    assert chips["epochs"] == [("20", 1), ("100", 4)]
    assert chips["data"] == [("not official", 1), ("official", 4)]


def test_the_filter_finds_options_as_the_command_line_writes_them() -> None:
    (section,) = view.sections([make(config__method__targets=["q", "v"])])
    words = section.lines[0].search.split()
    assert {"lora", "cifar100", "rank=8", "lr=0.001", 'targets=["q","v"]', "warmup_epochs=null"} <= set(words)


def test_text_of_a_record_stays_text() -> None:
    records = [
        make(
            EVIL,
            command=EVIL,
            data__official=False,
            data__official_note=EVIL,
            versions__torch=EVIL,
            config__method__note=EVIL,
        ),
        make("linear"),
    ]
    text = render(records, [(EVIL, EVIL)], [], [])
    page = Page(text)
    assert page.count("script") == Page(render([make()], [], [], [])).count("script")
    assert page.count("img") == 0
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    first = unpacked(held(text, "data"))[0]
    assert first["versions"]["torch"] == EVIL
    assert first["command"] is None, "what is no command of ours is not offered for copying into a shell"
    assert any(EVIL in data for tag, data in page.texts if tag == "code")


def test_nothing_is_fetched_and_only_our_scripts_run() -> None:
    text = render(several(), [], [], [])
    page = Page(text)
    for address in [*page.attributes("src"), *page.attributes("href")]:
        assert address is not None and address.startswith(("#", "data:"))
    assert page.count("link") == 1  # the empty icon, so that no browser asks for one
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("style-src")[0]
    assert "url(" not in re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]


def test_the_library_is_whole_and_its_licences_are_on_the_page() -> None:
    script, name, licence = embed.library()
    text = render([make()], [], [], [])
    assert held(text, "library") == script
    assert "SpryMedia Ltd - datatables.net/license" in script
    assert "Permission is hereby granted, free of charge" in licence
    assert name in text and "Permission is hereby granted, free of charge" in text


def test_no_third_party_code_lies_in_our_sources() -> None:
    for path in (ROOT / "aoft_bench" / "report").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert path.stat().st_size < 40_000, path
            assert "Copyright" not in path.read_text(encoding="utf-8"), path


def test_published_rows_stand_apart(tmp_path: Path) -> None:
    write(tmp_path, several())
    (tmp_path / "published").mkdir()
    header = "method,params_m,cifar100,svhn,mean_kind,reported_mean,source,backbone,canonical,note"
    (tmp_path / "published" / "vtab.csv").write_text(
        f"{header}\nPaper A,0.29,70.0,80.5,mean19,79.0,A et al.,ViT-B/16,1,\nPaper B,,1.0,2.0,none,,B,ViT-B/16,0,\n"
    )
    (tmp_path / "published" / "factors.csv").write_text("method,source,checkpoint,images,normalization\n")
    text = write_report(tmp_path).path.read_text(encoding="utf-8")
    measured, published = text.split('<section id="published"')
    assert "Paper A" not in measured
    assert ">70.0<" in published and ">0.29<" in published and "1 published row<" in published
    assert "prints 79 as its flat mean, its cells give 75.25" in published
    assert "Paper B" not in text  # not the line to show
    assert 'class="cell' not in published.split("<script")[0] and 'class="results' not in published


def test_left_out_records_are_named(tmp_path: Path, cli: Command) -> None:
    first, *_ = write(tmp_path / "results", several())
    first.write_text(first.read_text().replace('"top1": 40.0', '"top1": 99.0'))
    result = cli("report", "results")
    assert result.code == 0
    name = first.relative_to(tmp_path / "results").as_posix()
    assert f"left out {name}: metrics.top1 is 99" in result.err
    text = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert name in text.split('id="left-out"')[1]
    kept = unpacked(held(text, "data"))
    assert len(kept) == 6
    assert all(record["metrics"]["correct"] != 4000 for record in kept)
    assert "6 records, 0 figures -> results/report.html" in result.out


def test_nothing_to_show_is_one_line_and_no_page(tmp_path: Path, cli: Command) -> None:
    for folder, told in (("nowhere", "no records below nowhere/records"), ("bad", "none of the 1 records below")):
        if folder == "bad":
            (tmp_path / "bad" / "records").mkdir(parents=True)
            (tmp_path / "bad" / "records" / "x.json").write_text("{")
        result = cli("report", folder)
        assert (result.code, result.out) == (2, "")
        assert result.err.count("\n") == 1 and told in result.err
        assert not (tmp_path / folder / "report.html").exists()


def png_file(path: Path, size: tuple[int, int] = (3, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)


def test_figures_come_with_their_captions(tmp_path: Path) -> None:
    for name in ("x-gain.png", "another_one.png"):
        png_file(tmp_path / "figures" / name)
    caption = "What cifar100* shows."
    drawn = [
        DrawnFigure("A setting", "gain, A setting", caption, ["x-gain.pdf", "x-gain.png"]),
        DrawnFigure("A setting", "gone", "", ["gone.png"]),
    ]
    write_index(tmp_path / "figures", drawn)
    first, second = embed.figures(tmp_path)
    assert (first.setting, first.title, first.caption) == ("A setting", "gain, A setting", caption)
    assert (first.width, first.height) == (3, 2)
    assert first.address.startswith("data:image/png;base64,iVBOR")
    assert (second.setting, second.title, second.caption) == ("", "another one", "")
    text = render([make()], [], [first, second], [])
    assert Page(text).count("img") == 2 and caption in text
    (tmp_path / "figures" / "index.json").write_text('[{"title": 1}]')
    with pytest.raises(UserError, match=r"index\.json is damaged .*aoft-bench figures"):
        embed.figures(tmp_path)


def test_a_file_that_is_no_figure_is_named(tmp_path: Path, cli: Command) -> None:
    write(tmp_path / "results", [make()])
    (tmp_path / "results" / "figures").mkdir()
    (tmp_path / "results" / "figures" / "a.png").write_text("not a picture, but long enough for a header")
    result = cli("report", "results")
    assert result.code == 2 and "a.png is not a PNG file" in result.err
    assert not (tmp_path / "results" / "report.html").exists()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "LIBRARY", "itables/html/not_there.js")
    with pytest.raises(UserError, match="pip install 'itables"):
        embed.library()


def test_it_needs_neither_torch_nor_a_connection(tmp_path: Path) -> None:
    write(tmp_path, several())
    code = (
        "import socket, sys\n"
        "socket.socket.connect = lambda *a: sys.exit('it asked for a connection')\n"
        "from aoft_bench.cli import main\n"
        "code = main(['report', sys.argv[1]])\n"
        "heavy = {'torch', 'timm', 'matplotlib', 'pandas', 'itables'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
