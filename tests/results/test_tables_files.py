"""`aoft-bench tables`: every file that it writes, and what it says of records left out."""

import csv
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Command, call
from record_cases import markdown_rows, record, write

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.table import MISSING, NOT_AVAILABLE, Column, Entry, Table, count_entry, make_block
from aoft_bench.results.writers.csv import to_long_csv, to_wide_csv
from aoft_bench.results.writers.html import to_html
from aoft_bench.results.writers.latex import escape, to_latex
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.results.writers.terminal import to_terminal

ROOT = Path(__file__).resolve().parents[2]
VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]
FILES = {"accuracy", "ablations", "cost", "published", "reproduction"}

# the columns of a golden table, whose rows are lists of entries
COLUMNS: list[Column[list[Entry]]] = [
    Column("method", lambda row: row[0], text=True),
    Column("x_1", lambda row: row[1], "One", rotated=True),
    Column("y", lambda row: row[2], "One", rotated=True, mark="*"),
    Column("m", lambda row: row[3]),
]
OURS = [
    Entry("a & b"),
    Entry("61.0", 61.0, (60.0, 62.0), (0, 1), "1.4", mark="best"),
    Entry("50.0", mark="second"),
    MISSING,
]
THEIRS = [Entry("AOFT†", note="a"), NOT_AVAILABLE, count_entry(1234), Entry("7.0")]
TABLE = Table(
    "A title_1",
    "100 % of A & B",
    COLUMNS,
    [make_block(COLUMNS, [OURS]), make_block(COLUMNS, [THEIRS], "published: <B>")],
    ["[a] 5 # of λ."],
    {"suite": "vtab1k"},
    grouped=True,
)

LATEX = r"""\begin{table}[p]
\centering
\caption{A title\_1. 100 \% of A \& B.}
\label{tab:a-title-1}
\smallskip
\setlength{\tabcolsep}{2.5pt}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{lrrr}
\toprule
\multicolumn{1}{c}{} & \multicolumn{2}{c}{One} & \multicolumn{1}{c}{} \\
\cmidrule(lr){2-3}
method & \rotatebox{90}{x\_1} & \rotatebox{90}{y*} & m \\
\midrule
a \& b & \textbf{61.0}{\tiny$\pm$1.4} & \underline{50.0} & missing \\
\midrule
\multicolumn{4}{l}{\itshape published: \textless{}B\textgreater{}} \\
AOFT$\dagger$\textsuperscript{a} & n/a & 1,234 & 7.0 \\
\bottomrule
\end{tabular}}
\par\smallskip\raggedright\footnotesize {[}a] 5 \# of $\lambda$.
\end{table}
"""

HTML = """<caption><strong>A title_1</strong><br>100 % of A &amp; B.</caption>
<thead>
<tr><td></td><th scope="colgroup" colspan="2">One</th><td></td></tr>
<tr><th scope="col" class="text">method</th><th scope="col" class="rotated"><span>x_1</span></th>\
<th scope="col" class="rotated"><span>y*</span></th><th scope="col">m</th></tr>
</thead>
<tbody>
<tr><th scope="row">a &amp; b</th><td><strong>61.0</strong> <small>± 1.4</small></td>\
<td><u>50.0</u></td><td>missing</td></tr>
</tbody>
<tbody>
<tr><th scope="rowgroup" colspan="4">published: &lt;B&gt;</th></tr>
<tr><th scope="row">AOFT† <sup>a</sup></th><td>n/a</td><td>1,234</td><td>7.0</td></tr>
</tbody>
</table>
<p>[a] 5 # of λ.</p>
"""


def test_golden_latex() -> None:
    assert LATEX in to_latex([TABLE])


def test_golden_html() -> None:
    assert HTML in to_html("T", [TABLE])


def test_golden_csv() -> None:
    assert to_long_csv([TABLE]) == (
        "table,suite,block,row,column,mean,std,n,seeds,mark\n"
        "A title_1,vtab1k,,a & b,x_1,61,1.41421,2,0 1,best\n"
        "A title_1,vtab1k,,a & b,m,,,0,,\n"
    )
    assert to_wide_csv([TABLE]) == (
        "table,suite,block,method,x_1,x_1 std,y,m\n"
        "A title_1,vtab1k,,a & b,61.0,1.4,50.0,missing\n"
        "A title_1,vtab1k,published: <B>,AOFT† [a],n/a,,1234,7.0\n"
    )


def test_latex_escapes() -> None:
    assert escape(r"\a_b^c~{d}#$%&") == r"\textbackslash{}a\_b\textasciicircum{}c\textasciitilde{}\{d\}\#\$\%\&"
    assert escape("Demšar é λ") == r"Demsar é $\lambda$"
    assert escape("√(1 + 1/n)") == r"$\surd$(1 + 1/n)"
    assert escape("数") == "?"


def test_text_from_outside_stays_a_text_in_every_format() -> None:
    """A line break ends no caption and no row; a pipe, a link, a formula and a colour of a terminal are plain signs."""
    nasty = "a\n\nb|c\\|d \x1b[31m[e](f) `g` **h** <i>"
    columns: list[Column[list[Entry]]] = [
        Column("method", lambda row: row[0], text=True),
        Column(f"@{nasty}", lambda row: row[1]),
    ]
    rows = [[Entry("=1+1"), Entry("-2.7", -2.7, (-2.7,))], [Entry(nasty), Entry("-x")]]
    table = Table(nasty, nasty, columns, [make_block(columns, rows, nasty)], [nasty], {"source": "+cmd"})
    markdown = to_markdown([table], [nasty])
    shown = r"a\\n\\nb\|c\\\|d \\x1b[31m[e\](f) \`g\` \*\*h\*\* &lt;i>"
    assert f"### {shown}\n\n{shown}.\n\n" in markdown and f"- {shown}\n" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines] == [3] * 5
    latex = to_latex([table], [nasty])
    assert "\x1b" not in latex
    (caption,) = re.findall(r"\\caption\{.*", latex)
    assert caption.count(r"a\textbackslash{}n\textbackslash{}nb") == 2
    for text in (to_wide_csv([table]), to_long_csv([table])):
        cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
        assert {cell for cell in cells if cell[:1] in "=+-@" and cell} <= {"-2.7"} and "'+cmd" in cells
    printed = to_terminal([table])
    assert "\x1b[31m" not in printed and r"\x1b[31m" in printed.replace("\n", "")


def test_a_long_table_is_continued_with_all_of_its_rows() -> None:
    columns = [Column[int]("method", lambda i: Entry(f"r{i}"), text=True), Column[int]("x", lambda i: Entry("1"))]
    text = to_latex([Table("T", "c", columns, [make_block(columns, range(80), "b")], ["end"])])
    assert re.findall(r"^r\d+", text, re.MULTILINE) == [f"r{i}" for i in range(80)]
    assert text.count(r"\toprule") == 3 and text.count(", continued") == 2
    assert text.count("end\n") == 1 and text.count(r"\itshape b") == 3


def lay_down(root: Path) -> None:
    """Records of a field's table, of FGVC and of a pack, with two seeds, a missing cell and a best test epoch."""
    pack = {"data__official": False, "data__source": "folder", "data__official_note": "a_pack & <more> 100 %"}
    for method, shift in (("aoft", 2.0), ("lora", 0.0), ("lora_matched", 1.0)):
        options = {"name": method.removesuffix("_matched"), "rank": 8 - 7 * (method == "lora_matched")}
        options |= {"label": method} if options["name"] != method else {}
        for i, name in enumerate(VTAB):
            for seed in (0, 1):
                if (method, name) != ("lora", "svhn"):
                    made = record(60.0 + shift + i + seed, name, method, seed, config__method=options)
                    write(root, made)
        write(root, record(50.0 + shift, "cub", method, config__method=options, **pack))
        metrics = {"split": "test", "top1": 60.0, "correct": 3, "total": 5, "best_test_epoch_top1": 61.0}
        literature = {"protocol__name": "literature", "config__protocol__name": "literature", "metrics": metrics}
        write(root, record(0.0, method=method, config__method=options, **literature, **pack))


class Tags(HTMLParser):
    """Checks that what is opened is closed, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> text of what the command writes and, under "out", prints."""
    folder = tmp_path_factory.mktemp("tables")
    lay_down(folder / "results")
    done = call("tables", cwd=folder)
    assert done.code == 0, done.err
    files = {path.name: path.read_text() for path in (folder / "results" / "tables").iterdir()}
    assert not any(str(folder) in text for text in files.values())
    return files | {"out": done.out}


def test_every_file_is_written_and_whole(tables: dict[str, str]) -> None:
    texts = {name: text for name, text in tables.items() if name != "out"}
    assert texts.keys() == {f"{name}{end}" for name in FILES for end in (".md", ".tex", ".html", "_wide.csv")} | {
        *(f"{name}_long.csv" for name in FILES - {"published"}),
        *("statistics.md", "statistics.csv"),
    }
    assert texts["accuracy.md"].strip() in tables["out"]
    for name, text in texts.items():
        assert text.endswith("\n")
        if name.endswith(".html"):
            parser = Tags()
            parser.feed(text)
            assert not parser.open and parser.counts["table"] == parser.counts["caption"] > 0
        if name.endswith(".csv"):
            lines = list(csv.reader(io.StringIO(text)))
            assert {len(line) for line in lines} == {len(lines[0])}
    long = list(csv.DictReader(io.StringIO(texts["accuracy_long.csv"])))
    (missing,) = [line for line in long if (line["row"], line["column"]) == ("lora", "svhn")]
    assert (missing["n"], missing["mean"]) == ("0", "")
    (aoft,) = [line for line in long if (line["row"], line["column"], line["official"]) == ("aoft", "svhn", "true")]
    assert (aoft["mean"], aoft["n"], aoft["seeds"], aoft["mark"]) == ("67.5", "2", "0 1", "best")
    assert "published, not ranked with ours" in texts["accuracy.md"]  # the network is ViT-B/16
    assert "| LoRA r=1 | 1 |" in texts["ablations.md"]
    assert re.search(
        r"\| LoRA\+AOFT† \| LoRA r=1 \| 19 \| 19 \| 0 \| 0 \| 1\.0 \| 0\.\d to 1\.\d \|", texts["statistics.md"]
    )


def test_another_process_writes_the_same_bytes_without_torch(tables: dict[str, str], tmp_path: Path) -> None:
    lay_down(tmp_path / "results")
    program = (
        "import sys\n"
        "from aoft_bench.cli import main\n"
        "assert not main(['tables', 'results'])\n"
        "heavy = {'torch', 'timm', 'wandb', 'pytorch_lightning', 'hydra', 'tensorflow', 'sklearn', 'requests'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    words = [sys.executable, "-W", "error", "-c", program]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONHASHSEED": "7"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{3 * (19 * 2 + 2) - 2} records" in done.stdout
    files = {path.name: path.read_text() for path in (tmp_path / "results" / "tables").iterdir()}
    assert files | {"out": done.stdout} == tables


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed (texlive-latex-recommended)")
def test_pdflatex_compiles_every_file_alone_and_in_a_paper(tables: dict[str, str], tmp_path: Path) -> None:
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}\begin{document}"
        r"See \ref{tab:x}.\input{accuracy}\input{ablations} And more.\end{document}"
    )
    for name in ("accuracy", "ablations", "cost", "published", "paper"):
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", f"{name}.tex"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
        log = (tmp_path / f"{name}.log").read_text(errors="replace")
        assert "Overfull" not in log and "Missing character" not in log
        if name != "paper":  # its page is smaller than those that the tables are cut for
            assert "Float too large" not in log


def test_records_left_out_are_named_and_the_others_are_used(tmp_path: Path, cli: Command) -> None:
    root = tmp_path / "results"
    write(root, record(60.0))
    bad = write(root, record(70.0, seed=1))
    bad.write_text(bad.read_text().replace('"top1": 70.0', '"top1": 90.0'))
    done = cli("tables")
    assert done.code == 0
    assert done.err.count("\n") == 1 and f"left out results/{bad.relative_to(root)}: metrics.top1 is 90" in done.err
    for name in ("accuracy.md", "accuracy.tex", "accuracy.html", "statistics.md"):
        text = (root / "tables" / name).read_text().replace(r"\_", "_")
        assert f"Left out: {bad.relative_to(root)}: metrics.top1 is 90" in text
    assert markdown_rows(done.out)[2][3] == "60.0"  # after the line that says it stands apart


def test_nothing_that_can_be_used_is_a_mistake(tmp_path: Path, cli: Command) -> None:
    none = cli("tables")
    assert none.code == 2 and none.err.count("\n") == 1 and "no records below results/records" in none.err
    path = write(tmp_path / "results", record(60.0))
    path.write_text("{")
    bad = cli("tables")
    assert bad.code == 2 and bad.err.count("\n") == 2 and "none of the 1 records can be used" in bad.err
    assert not (tmp_path / "results" / "tables").exists()


def test_files_that_are_out_of_date_go(tmp_path: Path, cli: Command) -> None:
    root = tmp_path / "results"
    write(root, record(60.0))
    (root / "tables").mkdir()
    for name in ("ablations.tex", "mine.md"):
        (root / "tables" / name).write_text("old")
    assert cli("tables").code == 0
    assert not (root / "tables" / "ablations.tex").exists()
    assert (root / "tables" / "mine.md").read_text() == "old"


def test_the_committed_tables_are_those_of_the_committed_records(tmp_path: Path, cli: Command) -> None:
    results = ROOT / "results" / "shipped"
    if not (results / "records").is_dir():
        pytest.skip("a source distribution has no results")
    for folder in (results / "records", ROOT / "results" / "published"):
        ignored = shutil.ignore_patterns("*.safetensors")
        shutil.copytree(folder, tmp_path / "results" / folder.name, ignore=ignored)
    shutil.copy(results / "titles.yaml", tmp_path / "results")
    assert cli("tables").code == 0
    for path in sorted((tmp_path / "results" / "tables").iterdir()):
        assert path.read_text() == (results / "tables" / path.name).read_text(), f"make tables changes {path.name}"


def test_shipped_records_are_shown_until_there_are_others(tmp_path: Path, cli: Command) -> None:
    shipped = tmp_path / "results" / "shipped"
    write(shipped, record(60.0))
    first = cli("tables")
    assert (
        first.code == 0 and "this is results/shipped, the project's" in first.err and "-> results/shipped/" in first.out
    )
    write(tmp_path / "results", record(70.0))
    own = cli("tables")
    assert own.code == 0 and not own.err and "1 record -> results/tables" in own.out
    both = cli("tables", "beside=results/shipped")
    assert both.code == 0 and "2 records -> results/tables" in both.out
    rows = {row[0]: row[3] for row in markdown_rows(both.out)}
    assert rows["LoRA"] == "**70.0**" and rows["LoRA [shipped]"] == "<u>60.0</u>"


def test_one_setting_for_a_paper(tmp_path: Path, cli: Command) -> None:
    root = tmp_path / "results"
    write(root, record(60.0))
    write(root, record(50.0, config__recipe__epochs=20))
    done = cli("tables", "--only", "20ep")
    assert done.code == 0, done.err
    (file,) = (root / "tables").iterdir()
    assert file.name.startswith("vtab1k-vit_b16_in21k-clean-224px-20ep-") and file.suffix == ".tex"
    text = file.read_text()
    assert r"\caption{VTAB-1k: ViT-B/16" in text and "& 50.0 &" in text and "20 epochs" in text
    assert "100 epochs" not in text and "20 epochs" in done.out
    for name, said in (("ep", "--only ep fits 2 settings: give one of vtab1k-"), ("30ep", "unknown setting '30ep'")):
        wrong = cli("tables", "--only", name)
        assert wrong.code == 2 and wrong.err.count("\n") == 1 and said in wrong.err
    assert [*(root / "tables").iterdir()] == [file]


def test_a_wide_table_in_a_log_keeps_its_numbers() -> None:
    columns = [Column[int](f"task {n}", lambda i, n=n: Entry(f"{100 + n}.{i}")) for n in range(25)]
    printed = to_terminal([Table("wide", "c", columns, [make_block(columns, [7])])])
    assert all(f"{100 + n}.7" in printed for n in range(25))
