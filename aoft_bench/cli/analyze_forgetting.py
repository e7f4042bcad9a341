"""`aoft-bench analyze forgetting RECORD ... [probe=DATASET,...] [name=value ...]`: what training did to the features.

Compares the features of the pre-trained and of the trained network by block (linear CKA, cosine), and how well a linear
probe on another task does on both. Writes features.csv, probes.csv, summary.md and figures/ into the folder of out=DIR.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path

OUT = Path("results/analysis/forgetting")
EXAMPLES = """aoft-bench analyze forgetting results/records/vit_nano/lora probe=digits
aoft-bench analyze forgetting RECORD.json RECORD.json probe=cifar100,dtd data.root=data/packs out=DIR"""


def forgetting(arguments: Sequence[str]) -> int:
    """Measure the records of a command line and write the table and the figures."""
    parser = ArgumentParser(
        "analyze forgetting",
        description="Distance of trained features from the pre-trained ones, and linear probes on other tasks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECORD",
        help=f"records, folders of records, and name=value: probe=DATASET,..., out=DIR, {', '.join(MOVABLE)}",
    )
    words = parser.parse_args(arguments).words
    paths = [user_path(word, "the argument") for word in words if "=" not in word]
    changes = parse_changes([word for word in words if "=" in word], ("probe", "out"))
    if not paths:
        raise UserError("nothing to analyse: give records, or folders of records, as in --help")
    out = user_path(changes.pop("out", OUT), "out")
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; give a folder")
    probes = [name.strip() for name in changes.pop("probe", "").strip("[]").split(",") if name.strip()]

    from aoft_bench.analysis.forgetting import Forgetting
    from aoft_bench.analysis.forgetting_report import Measured, write
    from aoft_bench.analysis.inputs import record_paths
    from aoft_bench.experiments.trained_run import open_run
    from aoft_bench.results.collect import read_usable
    from aoft_bench.utils.files import write_text_atomically

    measuring, measured = Forgetting(probes), []
    for path, in_folder in record_paths(paths):
        try:
            record = read_usable(path, anywhere=not in_folder)
            kept, probed = measuring.measure(open_run(path, record, changes))
            measured.append(Measured(record, kept, probed))
        except UserError as error:
            if not in_folder:
                raise
            print(f"aoft_bench: left out: {error}", file=sys.stderr)
    if not measured:
        raise UserError("none of these records could be looked at (see above)")
    files = write(measured, out / "figures")
    for name, text in files.items():
        write_text_atomically(out / name, text)
    print(files["summary.md"])
    print(f"{len(measured)} runs -> {out}: {', '.join(files)}, figures/")
    return 0
