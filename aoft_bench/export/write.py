"""One folder for one trained model: in a format, with its record and its card, complete or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aoft_bench.experiments.trained_run import TrainedRun
from aoft_bench.export.card import card
from aoft_bench.export.onnx_format import write_onnx
from aoft_bench.export.peft_format import write_peft
from aoft_bench.export.timm_format import write_timm
from aoft_bench.export.trained_model import TrainedModel, load
from aoft_bench.utils.files import no_empty_folder, refuse_existing, unwritable

WHAT = "the model"
# each writes its files into a folder and returns the largest difference of a logit from those of the trained model
WRITERS: dict[str, Callable[[TrainedModel, Path], float]] = {"timm": write_timm, "onnx": write_onnx, "peft": write_peft}


def export_model(run: TrainedRun, kind: str, out: Path) -> float:
    """Write the model of a run to the folder `out`, and return the largest difference of a logit.

    Beside the files of the format stand the record, README.md, and preprocessing.json where the format does not say how
    images are prepared. Raises `UserError` if `out` is not empty, and as the writers do.
    """
    refuse_existing(out, WHAT)
    model = load(run)
    with whole_folder(out) as folder:
        difference = WRITERS[kind](model, folder)
        if kind != "timm":
            about = {**model.preprocessing, "label_names": list(model.class_names)}
            text = json.dumps(about, indent=2, ensure_ascii=False)
            (folder / "preprocessing.json").write_text(f"{text}\n", encoding="utf-8")
        shutil.copyfile(run.path, folder / run.path.name)
        (folder / "README.md").write_text(card(model, kind, difference), encoding="utf-8")
    return difference


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, which is renamed to it at the end, and removed if anything fails."""
    partial = target.with_name(f".{target.name}-{uuid.uuid4().hex}.partial")
    try:
        with no_empty_folder(target.parent, WHAT):
            try:
                partial.mkdir()
                yield partial
                refuse_existing(target, WHAT)
                os.replace(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise unwritable(target, WHAT, error) from error
