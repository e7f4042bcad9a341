"""Write the tables of docs/findings.md from results/shipped/tables: python tools/findings.py

A line `<!-- table NAME -->` stands before each table that is written here. Run it after `aoft-bench tables
results/shipped`. The sentences around the tables are written by hand, so read them again afterwards.
"""

import re
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
PAGE, TABLES = ROOT / "docs" / "findings.md", ROOT / "results" / "shipped" / "tables"
FIVE_PACKS = "Tasks of VTAB-1k: ViT-Ti"
TEN_EPOCHS = f"{FIVE_PACKS}/16 (Tiny ImageNet), protocol clean, 64 px, 10 epochs"
CALIBRATED = ("Linear", "LoRA+AOFT", "LoRA r=1", "LoRA+AOFT†", "Adapter", "SSF", "LoRA", "Full")
IMAGES = ("100", "300", "1,000")
_MARKER = re.compile(r"^(<!-- table (\w+) -->\n\n)(?:\|.*\n)*", flags=re.MULTILINE)

Rows = list[list[str]]


def printed(file: str, title: str) -> tuple[list[str], Rows]:
    """The heads and rows of the first table of a file whose title starts so, without signs of rank and of notes."""
    text = (TABLES / file).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"### {title}")
    if not found:
        raise SystemExit(f"tools/findings.py: {file} has no table '{title}'")
    lines = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith("|")]
    cells = [re.sub(r"\*\*|</?u>| \[[\d,]+\]", "", line).strip("| ") for line in lines]
    heads, _, *rows = [[cell.strip() for cell in line.split(" | ")] for line in cells]
    return heads, rows


def accuracy(title: str) -> tuple[list[str], Rows]:
    """Trained parameters, scores and mean of each method."""
    heads, rows = printed("accuracy.md", title)
    kept = [i for i, head in enumerate(heads) if head not in ("with head", "mean of groups")]
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows if len(row) == len(heads)]


def calibration() -> tuple[list[str], Rows]:
    """Expected calibration error by dataset, and its mean."""
    heads, rows = printed("predictions.md", f"Calibration: {TEN_EPOCHS}")
    at = heads.index("ECE")
    by_dataset: dict[str, dict[str, str]] = {}
    for row in rows:
        if len(row) < len(heads):
            dataset = row[0].strip("*")
            by_dataset[dataset.replace("\\", "") + "\\*"] = errors = {}
        else:
            errors[row[0]] = row[at].split(" ")[0]
    table = []
    for name in CALIBRATED:
        values = [float(errors[name]) for errors in by_dataset.values()]
        table.append([name, *(f"{value:.1f}" for value in (*values, fmean(values)))])
    return ["", *by_dataset, "mean"], table


def pairs() -> tuple[list[str], Rows]:
    """AOFT†, and AOFT with λ = 1, minus each method that has no AOFT in it, over the datasets."""
    _, rows = printed("predictions.md", f"AOFT against each, over datasets: {TEN_EPOCHS}")
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


def sizes() -> tuple[list[str], Rows]:
    """Top-1 on EuroSAT of each number of training images at three rates."""
    table = []
    for images in IMAGES:
        title = f"Tasks of VTAB-1k{'' if images == '1,000' else f', {images} training images'}: ViT-Ti"
        _, rows = _of_epochs(20, title)
        scores = {row[0]: row[-1] for row in rows if len(row) > 1 and "lr=" in row[0]}
        names = [f"{name} (lr={rate})" for name in ("LoRA+AOFT†", "LoRA r=1") for rate in ("0.001", "0.003", "0.01")]
        table.append([images, *(scores[name] for name in names)])
    return ["images", "AOFT†, 1e-3", "3e-3", "1e-2", "LoRA r=1, 1e-3", "3e-3", "1e-2"], table


def longer() -> tuple[list[str], Rows]:
    """AOFT† and LoRA of its size after 10 and 30 epochs, on the datasets that have both."""
    table, datasets = [], [head for head in _of_epochs(30, FIVE_PACKS)[0] if head.endswith("*")]
    for epochs in (10, 30):
        heads, rows = _of_epochs(epochs, FIVE_PACKS)
        for name in ("LoRA r=1", "LoRA+AOFT†"):
            (row,) = [row for row in rows if row[0] == name]
            scores = [row[heads.index(dataset)] for dataset in datasets]
            mean = fmean(float(score.split(" ")[0]) for score in scores)
            table.append([f"{epochs} epochs, {name}", *scores, f"{mean:.1f}"])
    return ["", *datasets, "mean"], table


def _of_epochs(epochs: int, title: str) -> tuple[list[str], Rows]:
    """The table of accuracy.md whose title starts so and ends with this number of epochs."""
    text = (TABLES / "accuracy.md").read_text(encoding="utf-8")
    (whole,) = re.findall(rf"^### ({re.escape(title)}.*, {epochs} epochs)$", text, flags=re.MULTILINE)
    return printed("accuracy.md", whole)


def markdown(heads: list[str], rows: Rows) -> str:
    """A table whose first column is text and whose other columns are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, rule, *rows))


def tables() -> dict[str, str]:
    """The Markdown of each table by its name."""
    made = {
        "accuracy": accuracy(TEN_EPOCHS),
        "longer": longer(),
        "pairs": pairs(),
        "calibration": calibration(),
        "sizes": sizes(),
        "embedded": accuracy("Embedded tasks: ViT-nano"),
    }
    return {name: markdown(*table) for name, table in made.items()}


def written(page: str) -> str:
    """The page with its tables as results/shipped/tables has them now."""
    made = tables()
    return _MARKER.sub(lambda marker: marker[1] + made[marker[2]], page)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = written(before)
    PAGE.write_text(after, encoding="utf-8")
    print("docs/findings.md", "is as it was" if after == before else "is written", file=sys.stderr)
