"""`aoft-bench analyze WHAT ... [name=value ...]`: how orthogonal a backbone and trained methods are.

WHAT is a record (its trained parameters beside it), a folder of records, or backbone=NAME. Writes orthogonality.csv,
summary.md and figures/ into the folder of out=DIR. `aoft-bench analyze forgetting` is in analyze_forgetting.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path

CHANGES = ("backbone", "backbone.name", "backbone.checkpoint", "out")
OUT = Path("results/analysis")
EXAMPLES = """aoft-bench analyze forgetting RECORD ...      what training did to the features; has its own --help
aoft-bench analyze backbone=vit_nano
aoft-bench analyze backbone=vit_ti16_file backbone.name=my_vit backbone.checkpoint=FILE
aoft-bench analyze results/records/vit_nano/lora out=results/analysis
aoft-bench analyze results/records/vit_nano/lora/digits/seed0-0123456789.json"""


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line names and write the table, the summary and the figures."""
    if arguments[:1] == ["forgetting"]:
        from aoft_bench.cli import analyze_forgetting

        return analyze_forgetting.forgetting(arguments[1:])
    parser = ArgumentParser(
        "analyze",
        description="Angles, coherence and spectral norms of a backbone and of trained W_down and W_up.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="*", metavar="WHAT", help=f"records, folders of records, and name=value: {', '.join(CHANGES)}"
    )
    words = parser.parse_args(arguments).words
    paths = [user_path(word, "the argument") for word in words if "=" not in word]
    changes = _changes([word for word in words if "=" in word])
    if not paths and "backbone" not in changes:
        raise UserError("nothing to analyse: give backbone=NAME, or records or folders of records, as in --help")
    out = user_path(changes.get("out", OUT), "out")
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; give a folder")

    from aoft_bench.analysis.draw import draw
    from aoft_bench.analysis.inputs import MatrixSet, of_backbone, of_records
    from aoft_bench.analysis.summary import csv_text, rows_of, summary
    from aoft_bench.config.choices import backbone_options
    from aoft_bench.results.settings import Comparison
    from aoft_bench.utils.files import write_text_atomically

    sets: list[MatrixSet] = []
    comparisons: dict[str, Comparison] = {}
    if "backbone" in changes:
        given = {key: changes[f"backbone.{key}"] for key in ("name", "checkpoint") if f"backbone.{key}" in changes}
        sets.append(of_backbone(backbone_options(changes["backbone"], **given)))
    if paths:
        checkpoint = None if "backbone" in changes else changes.get("backbone.checkpoint")
        found = of_records(paths, checkpoint)
        comparisons = found.comparisons
        known = {one.weights for one in sets}
        sets += [one for one in found.sets if one.row or one.weights not in known]
        for line in found.left_out:
            print(f"aoft_bench: left out: {line}", file=sys.stderr)
        if not any(one.row for one in found.sets):
            raise UserError("none of these records could be looked at (see above)")
    rows = rows_of(sets)
    codes = {label: code for one in comparisons.values() for label, code in one.codes.items()}
    write_text_atomically(out / "orthogonality.csv", csv_text(rows, codes))
    captions = draw(sets, rows, comparisons, out / "figures")
    listed = "".join(f"* figures/{name}: {caption}.\n" for name, caption in captions.items())
    text = summary(rows)
    write_text_atomically(out / "summary.md", f"{text}\n## Figures\n\n{listed}")
    print(text)
    print(f"{len(rows):,} rows -> {out / 'orthogonality.csv'}; {len(captions)} figures -> {out / 'figures'}")
    return 0


def _changes(words: list[str]) -> dict[str, str]:
    from aoft_bench.config.command_line import split_word

    changes = {}
    for name, value in (split_word(word, "backbone=vit_nano") for word in words):
        if name not in CHANGES:
            raise unknown("option", name, CHANGES, "anything without = is a record or a folder of records")
        if not value:
            raise UserError(f"{name} has no value: give {name}=VALUE")
        changes[name] = value
    if "backbone.name" in changes and "backbone" not in changes:
        raise UserError("backbone.name names the backbone of backbone=NAME: give that too")
    return changes
