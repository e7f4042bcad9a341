"""`aoft-bench export-model RECORD out=DIR format=timm|onnx|peft [push=OWNER/NAME]`: a trained model for other programs.

Writes the model of a record, with a card and the record, into a folder that other programs read without this one, and
compares it with the trained model on training images. The folder appears only when it is complete.
"""

from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.cli.changes import MOVABLE, parse_changes, record_first
from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.files import user_path

FORMATS = {
    "timm": "model.safetensors and config.json, with the method merged: timm, the hub",
    "onnx": "model.onnx, of any method: onnxruntime and other engines (`aoft-bench predict` takes both)",
    "peft": "adapter_model.safetensors and adapter_config.json, of low-rank methods: Hugging Face's peft",
}
INTERRUPTED = "a folder that was not complete is not there"


def main(arguments: Sequence[str]) -> int:
    """Export the model of a record, and send it to the hub if asked to."""
    formats = "; ".join(f"{name}: {about}" for name, about in FORMATS.items())
    parser = ArgumentParser("export-model", epilog=f"format: {formats}")
    parser.add_argument("record", type=Path, help="a JSON file below results/records, its parameters beside it")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="name=value",
        help=f"out=DIR, format={'|'.join(FORMATS)} (timm), push=OWNER/NAME, and as for evaluate {', '.join(MOVABLE)}",
    )
    parsed = parser.parse_args(record_first(arguments))
    changes = parse_changes(parsed.words, ("out", "format", "push"))
    kind, repository = changes.pop("format", "timm"), changes.pop("push", None)
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    if "out" not in changes:
        raise UserError("where to? give out=<folder>")
    out = user_path(changes.pop("out"), "out")
    record = read_record(parsed.record, anywhere=True)

    from aoft_bench.experiments.trained_run import open_run
    from aoft_bench.export.hub import check_push, push
    from aoft_bench.export.write import export_model

    if repository is not None:
        check_push(repository)
    difference = export_model(open_run(parsed.record, record, changes), kind, out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{record['method']} on {record['dataset']} as {kind}: {len(list(out.iterdir()))} files, {size / 1e6:.1f} MB")
    print(f"  logits differ from those of the trained model by at most {difference:.1g}\n  {out}")
    if repository is not None:
        print(f"  {push(out, repository)}")
    return 0
