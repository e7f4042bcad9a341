"""`python -m aoft_bench.experiments.ddp_worker`: one of the processes that `processes.fit_together` starts.

Its job is a line of JSON on stdin, which stays open as long as the process that started it lives. On stdout it answers
with lines of JSON: {"metrics"} and {"curves"} for W&B, {"fit"} at the end, or {"failure", "explained", "traceback"}.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, Any]], None]


def main() -> None:
    """Train a share of a cell."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a signal to all of a job is answered by the one that started us
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    job = json.loads(sys.stdin.readline() or "null")
    if job is None:
        return
    threading.Thread(target=_end_with_starter, daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    try:
        _train(job, send)
    except BaseException as error:
        from aoft_bench.utils.errors import UserError

        explained = isinstance(error, UserError)
        first = str(error).partition("\n")[0]
        text = str(error) if explained else f"{type(error).__name__}: {first}"
        send({"failure": text, "explained": explained, "traceback": traceback.format_exc()})
        answers.flush()
        os._exit(2)  # an orderly end would wait for the others


def _end_with_starter() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock would be held when Python ends
    os._exit(1)


def _train(job: dict[str, Any], send: Send) -> None:
    import torch

    from aoft_bench.config.schema import from_dict
    from aoft_bench.experiments.experiment import build, identify
    from aoft_bench.experiments.run import score_split, train
    from aoft_bench.records.code_version import code_digest
    from aoft_bench.training import hardware
    from aoft_bench.training.shards import Share
    from aoft_bench.utils.errors import UserError

    if code_digest() != job["code"]:
        raise UserError(
            "aoft_bench was changed after this command began, so that its processes would run other code than the "
            "record says; run the command again"
        )
    config, share = from_dict(job["config"]), Share(job["rank"], job["count"])
    hardware.prepare_cpu(config.trainer.threads, share.count)
    cell = identify(config)
    if cell.device.type == "cuda":
        cell = dataclasses.replace(cell, device=torch.device("cuda", share.rank))
        torch.cuda.set_device(cell.device)
    torch.distributed.init_process_group(
        "nccl" if cell.device.type == "cuda" else "gloo",
        init_method=(Path(job["folder"]) / "meeting").as_uri(),  # a file: no port that another run could take
        rank=share.rank,
        world_size=share.count,
    )
    adapted = build(config, cell.prepared.classes, cell.device)
    scored = score_split(cell) if cell.protocol.every_epoch else None
    logger = _forwarding(send) if job["logged"] and share.rank == 0 else None
    trained = train(cell, adapted, scored, logger, share)
    peak = hardware.peak_memory_bytes(cell.device)
    send({"fit": dataclasses.asdict(trained) | {"peak_memory_bytes": peak}})
    torch.distributed.destroy_process_group()


def _forwarding(send: Send) -> Any:
    """A logger that hands everything to the process that has the W&B run."""
    from aoft_bench.training.wandb import EpochLogger

    class Forwarding(EpochLogger):
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            send({"metrics": dict(metrics)})

        def replay(self, curves: Mapping[str, list[float]]) -> None:
            send({"curves": dict(curves)})

    return Forwarding()


if __name__ == "__main__":
    main()
