"""Whether what is frozen in a job is kept, and where it comes from: computed, or read from what runs share on disk."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.transforms import normalize
from aoft_bench.methods.base import Method
from aoft_bench.training.frozen_cache import TOLERANCE, FrozenCache, NoRoomError
from aoft_bench.training.frozen_part import FrozenPart, frozen_part
from aoft_bench.training.frozen_store import store_of
from aoft_bench.training.job import TrainingJob
from aoft_bench.utils.errors import UserError

UNUSED = "frozen activations are computed in every step: "


@contextmanager
def frozen_cache(job: TrainingJob) -> Iterator[FrozenCache | None]:
    """The filled cache of a job on its device, or None where there is nothing to keep, or it is off.

    Says on stderr why there is none, unless nothing is frozen before what is trained, and what is not as it was asked
    for. What is kept is compared with what is computed before it is used.
    """
    cache, note = (None, "") if job.trainer.frozen_cache == "off" else _filled(job)
    if note and job.is_main_process:
        print(f"{job.label}: {note}", file=sys.stderr, flush=True)
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()


def _filled(job: TrainingJob) -> tuple[FrozenCache | None, str]:
    """The filled cache or None, and what a user should know of it."""
    if job.recipe.epochs <= (2 if job.batches.random_flip else 1):
        return None, ""  # filling it would cost what it saves
    start = time.monotonic()
    job.adapted.model.to(job.device)
    images = normalize(next(iter(job.batches))[0][:1], job.adapted.mean, job.adapted.std)
    part = frozen_part(job.adapted.model, images)
    if why_not := part.why_not if not part else _why_not(job):
        return None, UNUSED + why_not
    if not part:
        asked = job.trainer.frozen_cache == "shared"
        return None, UNUSED + "nothing stands before the first trained parameter" if asked else ""
    cache = FrozenCache(job, part)
    try:
        note = _fill(cache, job, part)
    except NoRoomError as error:
        cache.close()
        return None, UNUSED + str(error)
    if (difference := cache.difference()) > TOLERANCE[job.precision]:
        cache.close()
        return None, f"{UNUSED}they would differ by {difference:.1e} of the largest"
    cache.leave_out_patches()
    cache.seconds = time.monotonic() - start
    return cache, note


def _why_not(job: TrainingJob) -> str:
    """Why what is constant is not kept, or an empty text."""
    method = job.adapted.handle.method
    if not isinstance(job.batches, DeviceBatches):
        return "the training images are cropped at random, or too many for the device"
    if job.shard is not None:
        return "several processes train one model"
    if job.trainer.compile:
        return "trainer.compile=true"
    if type(method).loss is not Method.loss:
        return f"{type(method).__name__} computes its loss in a way of its own"
    return ""


def _fill(cache: FrozenCache, job: TrainingJob, part: FrozenPart) -> str:
    """Fill a cache, from disk if that is shared; what a user should know of it, or an empty text."""
    note = ""
    if job.shared is None:
        cache.fill()
    else:
        try:
            scored = cache.scored.batches.images if cache.scored else None
            note = cache.fill_from(store_of(job, part, job.shared, scored))
        except (OSError, UserError) as error:  # no lock, no folder
            cache.fill()
            note = f"frozen activations are not shared: {' '.join(str(error).split())}"
    if cache.in_file and not note:
        note = "frozen activations are in a file: they are larger than trainer.frozen_cache_gib allows"
    return note
