"""ONNX: model.onnx, which onnxruntime and other engines run.

The input `images` is (batch, 3, S, S) float32, normalized; the output `logits` is (batch, classes). Merged where the
method can merge; everything else, such as prompts and adapters, is part of the graph.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from aoft_bench.export.trained_model import TrainedModel
from aoft_bench.methods.parts.step_hooks import build_for_good
from aoft_bench.utils.errors import UserError

MOST = 65_536  # images at a time


def write_onnx(model: TrainedModel, folder: Path) -> float:
    """Write the file, run the graph in onnxruntime, and return the largest difference of a logit.

    Raises `UserError` if a library is missing, or an operator of the network in ONNX or in onnxruntime.
    """
    runtime = _runtime()
    handle = model.adapted.handle
    label = model.run.config.method.label
    if handle.mergeable:
        handle.merge()
    else:
        build_for_good(handle.model)
    path = folder / "model.onnx"
    batch = torch.export.Dim("batch", min=1, max=MOST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.export's own code
            program = torch.onnx.export(
                handle.model,
                (model.images[:2],),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=["images"],
                output_names=["logits"],
                verbose=False,
            )
            program.save(str(path))  # type: ignore[union-attr]
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"images": model.images.numpy()})
    except OSError:
        raise
    except Exception as error:  # of torch.export, onnxscript and onnxruntime, each of its own kinds
        raise UserError(f"format=onnx: {label} cannot be written as ONNX: {_problem(error)}{_instead(model)}") from None
    return model.check(torch.from_numpy(logits), "the ONNX graph")


def _runtime() -> Any:
    """onnxruntime, with what torch needs to write ONNX."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"format=onnx needs onnx, onnxscript and onnxruntime ({error}); pip install -e '.[onnx]' in the checkout"
        ) from None
    return onnxruntime


def _problem(error: BaseException) -> str:
    """The operator that is missing, or the first line of what a library says."""
    text = str(error)
    if missing := re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", text):
        return f"it has no operator for torch's {missing[1]}"
    return next((line for line in text.splitlines() if line.strip()), type(error).__name__)[:200]


def _instead(model: TrainedModel) -> str:
    return "; give format=timm" if model.adapted.handle.mergeable else ""
