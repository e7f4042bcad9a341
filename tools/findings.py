"""Write the tables of docs/findings.md from results/shipped: python tools/findings.py

A line `<!-- table NAME -->` stands before each table that is written here. Run it after `aoft-bench tables
results/shipped`. The sentences around the tables are written by hand, so read them again afterwards.
"""

import re
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
PAGE, TABLES = ROOT / "docs" / "findings.md", ROOT / "results" / "shipped" / "tables"
FORGETTING = ROOT / "results" / "shipped" / "analysis" / "forgetting" / "summary.md"
FIVE_PACKS, EMBEDDED = "Tasks of VTAB-1k: ViT-Ti", "Embedded tasks: ViT-nano"
CALIBRATED = ("Linear", "LoRA+AOFT", "LoRA r=1", "LoRA+AOFT†", "Adapter", "SSF", "LoRA", "Full")
IMAGES_AND_EPOCHS = (("100", 20), ("300", 20), ("1,000", 20), ("100", 200))
_MARKER = re.compile(r"^(<!-- table (\w+) -->\n\n)(?:\|.*\n)*", flags=re.MULTILINE)

Rows = list[list[str]]


def printed(file: str, title: str, epochs: int = 10) -> tuple[list[str], Rows]:
    """The heads and rows of the table whose title starts so and ends with these epochs, without signs of rank and of
    notes."""
    text = (TABLES / file).read_text(encoding="utf-8")
    found = re.findall(rf"^### {re.escape(title)}.*, {epochs} epochs\n((?:(?!### ).*\n)*)", text, flags=re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(f"tools/findings.py: {file} has {len(found)} tables '{title} ... {epochs} epochs'")
    return _parsed(re.sub(r"\*\*|</?u>| \[[\d,]+\]", "", found[0]))


def _parsed(text: str) -> tuple[list[str], Rows]:
    """The heads and rows of the only table of a text in Markdown."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    heads, _, *rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return heads, rows


def accuracy(title: str) -> tuple[list[str], Rows]:
    """Trained parameters, scores and mean of each method."""
    heads, rows = printed("accuracy.md", title)
    kept = [i for i, head in enumerate(heads) if head not in ("with head", "mean of groups")]
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows if len(row) == len(heads)]


def calibration() -> tuple[list[str], Rows]:
    """Expected calibration error by dataset, and its mean."""
    heads, rows = printed("predictions.md", f"Calibration: {FIVE_PACKS}")
    at = heads.index("ECE")
    by_dataset: dict[str, dict[str, str]] = {}
    for row in rows:
        if len(row) < len(heads):
            by_dataset[_dataset(row[0])] = errors = {}
        else:
            errors[row[0]] = row[at].split(" ")[0]
    table = []
    for name in CALIBRATED:
        values = [float(errors[name]) for errors in by_dataset.values()]
        table.append([name, *(f"{value:.1f}" for value in (*values, fmean(values)))])
    return ["", *by_dataset, "mean"], table


def pairs(title: str) -> tuple[list[str], Rows]:
    """AOFT†, and AOFT with λ = 1, minus each method that has no AOFT in it, over the datasets."""
    _, rows = printed("predictions.md", f"AOFT against each, over datasets: {title}")
    found = {(ours, other): row for ours, other, *row in rows}
    table = []
    for other in dict.fromkeys(other for _, other in found):
        cells = [other]
        for ours in ("LoRA+AOFT†", "LoRA+AOFT"):
            _, difference, interval, better, worse, neither, _ = found[ours, other]
            cells += [f"{float(difference):+.1f} ({interval})", f"{better} / {neither} / {worse}"]
        table.append(cells)
    counts = "better / not told apart / worse"
    return ["against", "AOFT† minus it", counts, "AOFT (λ = 1) minus it", counts], table


def forgetting() -> tuple[list[str], Rows]:
    """CKA with the features before training, and the probes on other tasks."""
    heads, rows = _parsed(FORGETTING.read_text(encoding="utf-8"))
    cka = [heads.index("CKA, blocks"), heads.index("CKA, head")]
    probes = [i for i, head in enumerate(heads) if head.startswith("probe on ")]
    before = [rows[0][i].split(" ")[0] for i in probes]
    names = [f"{heads[i]}, {value} before" for i, value in zip(probes, before, strict=True)]
    table = []
    for row in rows:
        changes = [row[i].partition("(")[2].removesuffix(")").replace(" ± ", " (± ") + ")" for i in probes]
        table.append([row[0], *(row[i] for i in cka), *changes])
    return ["", "CKA, mean of blocks", "CKA, head", *names], table


def packs() -> tuple[list[str], Rows]:
    """AOFT† minus LoRA of its size on each dataset, with its interval and McNemar's p, after 10 and 30 epochs."""
    table: dict[str, list[str]] = {}
    for epochs in (10, 30):
        heads, rows = printed("predictions.md", f"AOFT against each, by dataset: {FIVE_PACKS}", epochs)
        wanted = [heads.index(name) for name in ("difference", "95 %, images and seeds", "McNemar p")]
        for row in rows:
            if len(row) < len(heads):
                cells = table.setdefault(_dataset(row[0]), [])
            elif row[:2] == ["LoRA+AOFT†", "LoRA r=1"]:
                difference, interval, p = (row[i] for i in wanted)
                cells += [f"{float(difference):+.1f} ({interval})", p]
    names = [f"{epochs} epochs: {what}" for epochs in (10, 30) for what in ("difference", "p")]
    return ["", *names], [[name, *cells] for name, cells in table.items()]


def sizes() -> tuple[list[str], Rows]:
    """Top-1 on EuroSAT of each number of training images and epochs at three rates; "-" where a rate was not run."""
    table = []
    for images, epochs in IMAGES_AND_EPOCHS:
        title = f"Tasks of VTAB-1k{'' if images == '1,000' else f', {images} training images'}: ViT-Ti"
        _, rows = printed("accuracy.md", title, epochs)
        scores = {row[0]: row[-1] for row in rows if len(row) > 1 and "lr=" in row[0]}
        names = [f"{name} (lr={rate})" for name in ("LoRA+AOFT†", "LoRA r=1") for rate in ("0.001", "0.003", "0.01")]
        table.append([images, str(epochs), *(scores.get(name, "-") for name in names)])
    return ["images", "epochs", "AOFT†, 1e-3", "3e-3", "1e-2", "LoRA r=1, 1e-3", "3e-3", "1e-2"], table


def longer() -> tuple[list[str], Rows]:
    """AOFT† and LoRA of its size after 10 and 30 epochs, on the datasets that have both."""
    table, datasets = [], [head for head in printed("accuracy.md", FIVE_PACKS, 30)[0] if head.endswith("*")]
    for epochs in (10, 30):
        heads, rows = printed("accuracy.md", FIVE_PACKS, epochs)
        for name in ("LoRA r=1", "LoRA+AOFT†"):
            (row,) = [row for row in rows if row[0] == name]
            scores = [row[heads.index(dataset)] for dataset in datasets]
            mean = fmean(float(score.split(" ")[0]) for score in scores)
            table.append([f"{epochs} epochs, {name}", *scores, f"{mean:.1f}"])
    return ["", *datasets, "mean"], table


def _dataset(cell: str) -> str:
    """The dataset that a row names which stands over those of a dataset."""
    return cell.strip("*").replace("\\", "") + "\\*"


def markdown(heads: list[str], rows: Rows) -> str:
    """A table whose first column is text and whose other columns are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, rule, *rows))


def tables() -> dict[str, str]:
    """The Markdown of each table by its name."""
    made = {
        "accuracy": accuracy(FIVE_PACKS),
        "packs": packs(),
        "longer": longer(),
        "pairs": pairs(FIVE_PACKS),
        "calibration": calibration(),
        "forgetting": forgetting(),
        "sizes": sizes(),
        "embedded": accuracy(EMBEDDED),
        "embedded_pairs": pairs(EMBEDDED),
    }
    return {name: markdown(*table) for name, table in made.items()}


def written(page: str) -> str:
    """The page with its tables as results/shipped has them now."""
    made = tables()
    return _MARKER.sub(lambda marker: marker[1] + made[marker[2]], page)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = written(before)
    PAGE.write_text(after, encoding="utf-8")
    print("docs/findings.md", "is as it was" if after == before else "is written", file=sys.stderr)
