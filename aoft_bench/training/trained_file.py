"""The file of what a run trained, beside its record, which names it by its SHA-256."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aoft_bench.backbones.finite import not_finite
from aoft_bench.records.files import command_of
from aoft_bench.records.schema import Record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_atomically


def write_trained(path: Path, state: dict[str, Tensor]) -> str:
    """Write the trained tensors and return the SHA-256 of the file."""
    # not safetensors' save_file: on a full disk it raises an error of its own, without the errno
    content = save(state)
    write_atomically(path, lambda partial: partial.write_bytes(content))
    return hashlib.sha256(content).hexdigest()


def read_trained(path: Path, record: Record) -> dict[str, Tensor]:
    """The trained tensors of the record at `path`.

    Raises `UserError` if their file is missing, damaged, not the one that the run wrote, or holds values that are not
    finite. Records of older versions do not say which file the run wrote; of these any whole file is taken.
    """
    trained = path.with_suffix(".safetensors")
    if not trained.is_file():
        raise UserError(
            f"{trained} is not here: trained parameters stay on the machine that made the record; run it again: "
            f"{command_of(record) or 'python -m aoft_bench'}"
        )
    try:
        content = trained.read_bytes()
        state = load(content)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{trained} is damaged ({error}); run the cell again with results.mode=force") from None
    found, recorded = hashlib.sha256(content).hexdigest(), record.get("trained_sha256")
    if recorded and found != recorded:
        raise UserError(
            f"{trained} is not what the run saved: its SHA-256 begins with {found[:12]}, in the record with "
            f"{recorded[:12]}; run the cell again with results.mode=force"
        )
    if broken := not_finite(state.items()):
        raise UserError(
            f"{trained} holds NaN or infinite values in {len(broken)} tensors, the first is {broken[0]!r}: it is "
            "damaged or the run diverged; run the cell again with results.mode=force"
        )
    return state
