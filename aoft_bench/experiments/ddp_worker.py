"""`python -m aoft_bench.experiments.ddp_worker`: one of the processes that `ddp.fit_in_processes` starts.

It reads its job, a line of JSON, from stdin, which stays open as long as the starting process lives. It writes lines of
JSON to stdout: {"metrics"} and {"curves"} for W&B, {"result"} at the end, or {"failure", "explained", "traceback"}.
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
    """Train a shard, as the job on stdin says."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole job, it is handled by the starting process
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no message
    job = json.loads(sys.stdin.readline() or "null")
    if job is None:
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")

    try:
        _train(job, send)
    except BaseException as error:
        from aoft_bench.utils.errors import UserError

        explained = isinstance(error, UserError)
        first_line = str(error).partition("\n")[0]
        text = str(error) if explained else f"{type(error).__name__}: {first_line}"
        send({"failure": text, "explained": explained, "traceback": traceback.format_exc()})
        messages.flush()
        os._exit(2)  # an ordinary exit would wait for the other workers


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the pipe closes. Not sys.stdin: its lock would be held at exit
    os._exit(1)


def _train(job: dict[str, Any], send: Send) -> None:
    import torch

    from aoft_bench import methods
    from aoft_bench.config.schema import from_dict
    from aoft_bench.experiments.ddp import PREPARED
    from aoft_bench.experiments.experiment import prepare_experiment
    from aoft_bench.records.code_version import code_digest
    from aoft_bench.training import hardware
    from aoft_bench.training.fit import fit
    from aoft_bench.training.shards import Shard
    from aoft_bench.utils.errors import UserError

    if code_digest() != job["code"]:
        raise UserError(
            "aoft_bench was changed after this command began, so that its processes would run other code than the "
            "record says; run the command again"
        )
    config, shard = from_dict(job["config"], methods.get), Shard(job["rank"], job["world_size"])
    hardware.prepare_cpu(config.trainer.threads, shard.world_size)
    experiment = prepare_experiment(config)
    if experiment.digest != job["hash"]:
        raise UserError(
            "the images or the weights were changed after this command began, so that its processes would not train "
            "what the record says; run the command again"
        )
    if experiment.device.type == "cuda":
        experiment = dataclasses.replace(experiment, device=torch.device("cuda", shard.rank))
        torch.cuda.set_device(experiment.device)
    torch.distributed.init_process_group(
        "nccl" if experiment.device.type == "cuda" else "gloo",
        init_method=(Path(job["folder"]) / "rendezvous").as_uri(),  # a file: another run could take a port
        rank=shard.rank,
        world_size=shard.world_size,
    )
    logger = _forwarding_logger(send) if job["logged"] and shard.rank == 0 else None
    prepared = Path(job["folder"]) / PREPARED
    adapted = experiment.build_model(torch.load(prepared, weights_only=True) if prepared.is_file() else None)
    result = fit(experiment.job(adapted, logger, shard, job["until"]))
    peak = hardware.peak_memory_bytes(experiment.device)
    send({"result": dataclasses.asdict(result) | {"peak_memory_bytes": peak}})
    torch.distributed.destroy_process_group()


def _forwarding_logger(send: Send) -> Any:
    """An `EpochLogger` that sends everything to the process that has the W&B run."""
    from aoft_bench.training.wandb import EpochLogger

    class ForwardingLogger(EpochLogger):
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            send({"metrics": dict(metrics)})

        def replay(self, curves: Mapping[str, list[float]]) -> None:
            send({"curves": dict(curves)})

    return ForwardingLogger()


if __name__ == "__main__":
    main()
