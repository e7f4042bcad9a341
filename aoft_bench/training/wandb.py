"""Mirror runs to Weights & Biases; docs/wandb.md says why not by Lightning's WandbLogger."""

import contextlib
import functools
import netrc
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from aoft_bench.config.schema import RunConfig
from aoft_bench.utils.files import user_path

MAX_NAME = 128  # characters of a W&B name
MAX_TAG = 64
NO_KEY = "no key: `wandb login` asks for it"
EMPTY_FILE = 7  # bytes of a run's file before its first block
TIMEOUT = 30  # seconds that a start or an end waits for W&B's server


class EpochLogger(Logger):
    """A Lightning logger that writes one row an epoch to a W&B run. Its step is the number of finished epochs.
    run: the W&B run; None if nothing is mirrored. The first error of W&B sets it to None, and training goes on.
    uploaded: whether W&B has the epochs before a stop already."""

    def __init__(self) -> None:
        super().__init__()
        self.run: Any = None
        self.uploaded = False

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> int | str | None:
        return None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Mirror` sets the configuration of the run."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of an epoch. Lightning counts epochs from 0."""
        self._log(1 + int(metrics["epoch"]), metrics)

    @rank_zero_only
    def replay(self, curves: Mapping[str, list[float]]) -> None:
        """Log the epochs before a stop again, from the curves of a checkpoint.

        Offline, a killed process leaves no rows, since W&B writes its file in blocks of 32 KiB; online, the last rows
        may not have been sent. Rows that W&B's server has already are dropped by it, since their step is not new.
        """
        if self.uploaded:
            return
        for epoch in range(1, 1 + max((len(values) for values in curves.values()), default=0)):
            row = {metric_name(name): values[epoch - 1] for name, values in curves.items() if len(values) >= epoch}
            self._log(epoch, row)

    def summarize(self, values: dict[str, Any]) -> None:
        """Set the summary of the run, which W&B's tables show."""
        if self.run is not None:
            try:
                self.run.log({}, commit=True)  # write the last row first; it would overwrite these values
                self.run.summary.update(values)
            except Exception as error:
                self.give_up(error)

    def finish(self, failure: type[BaseException] | None) -> None:
        """End the run. failure: the exception that ended the training, or None."""
        if self.run is not None:
            try:
                if failure is SystemExit:  # SIGTERM: the run will go on; a W&B sweep gives it to another agent
                    self.run.mark_preempting()
                self.run.finish(exit_code=1 if failure else 0)
            except Exception as error:
                self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Stop mirroring, with a line on stderr. Also ends W&B's process, so that the next run starts a new one."""
        self.run = None
        _end_process()
        print(f"aoft_bench: W&B is left out ({_line(error)}); the record is kept", file=sys.stderr)

    def _log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self.run is not None:
            try:
                self.run.log({**metrics, "epoch": epoch}, step=epoch)
            except Exception as error:
                self.give_up(error)


class Mirror:
    """A context with the W&B run of a cell, if its options ask for one. An error of W&B is a line on stderr.

    label: name of the run; digest: hash of the cell; official: whether its images are proven to be the official split;
    facts: what else the configuration says of the cell, such as digests and versions.
    The run's id holds the names and the hash of the record, so a run that goes on is the same run. Its group is
    backbone, method and dataset: the seeds of one cell of a table. Its job type is the protocol. Its configuration
    names the groups of conf/ as a command does (method, dataset, backbone, protocol).
    logger: the Lightning logger of the run, or None. where: what becomes of the run, in words.
    """

    def __init__(
        self, config: RunConfig, *, label: str, digest: str, official: bool, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.options = config.logger
        # W&B's process may have another working folder
        self._folder = user_path(self.options.dir, "logger.dir").absolute()
        tree, protocol, backbone = config.as_dict(), config.protocol.name, config.backbone.name
        names = {"dataset": config.dataset.name, "backbone": backbone, "method": config.method.label}
        self.config = {section: tree[section] for section in ("recipe", "data", "trainer", "seed")}
        self.config |= {f"{section}_options": tree[section] for section in ("backbone", "method")}
        self.config |= {**names, "protocol": protocol, "hash": digest, **(facts or {})}
        self._description: dict[str, Any] = {
            "name": label[:MAX_NAME],
            "group": f"{backbone}/{config.method.label}/{config.dataset.name}"[:MAX_NAME],
            "job_type": protocol,
            "tags": [backbone[:MAX_TAG], protocol, "official split" if official else "not the official split"],
        }
        project, entity = self.options.project, self.options.entity
        self._identity: dict[str, Any] = {"id": run_id(config, digest), "project": project, "entity": entity}
        self.logger: EpochLogger | None = None
        self.where = "no logger"

    def __enter__(self) -> "Mirror":
        if self.options.name == "none":
            return self
        self.logger = EpochLogger()
        if getattr(rank_zero_only, "rank", 0) == 0:  # with several processes, rank 0 mirrors the run
            self.where = "W&B is left out"
            try:
                self._start(self.logger)
            except Exception as error:
                self.logger.give_up(error)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: Any) -> None:
        if self.logger is not None:
            self.logger.finish(failure)

    def summarize(self, record: dict[str, Any]) -> None:
        """Show the result, the parameter counts and the cost of a record in the run's summary."""
        if self.logger is None:
            return
        metrics = record["metrics"]
        summary: dict[str, Any] = {f"{metrics['split']}/top1": metrics["top1"]}
        summary |= {name: value for name, value in metrics.items() if name.startswith("best_test_epoch")}
        summary |= {f"{name}/top1": shift["top1"] for name, shift in metrics.get("shifts", {}).items()}
        summary |= {f"parameters/{name}": count for name, count in record["parameters"].items()}
        summary |= {f"cost/{name}": value for name, value in record["cost"].items()}
        self.logger.summarize(summary)

    def _start(self, logger: EpochLogger) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder):  # W&B would silently use the system's temporary folder instead
            pass
        mode = self.options.mode if self.options.mode != "auto" else os.environ.get("WANDB_MODE", "auto")
        if mode == "disabled":
            return
        problem = self._start_online(logger) if mode in ("auto", "online") else ""
        self.where = f"W&B, project {self.options.project}"
        if logger.run is None:
            if problem and (mode, problem) != ("auto", NO_KEY):
                _print_once(f"W&B is offline ({problem}); runs are kept in {self.options.dir} for `wandb sync`")
            logger.run = self._start_in("offline")
            self.where = f"W&B, offline in {self.options.dir}"
            logger.uploaded = _clear_earlier_starts(Path(logger.run.settings.sync_dir), logger.run.id)

    def _start_online(self, logger: EpochLogger) -> str:
        """Start an online run. Returns why that is not possible, or an empty string."""
        import wandb

        url = wandb.setup().settings.base_url
        if not has_key(url):
            return NO_KEY
        if problem := _unreachable(url):
            return problem
        try:
            logger.run = self._start_in("online")
            return ""
        except Exception as error:
            _end_process()  # it may still hold the run of this id
            return _line(error)

    def _start_in(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        # in a W&B sweep the agent sets these, and W&B warns of what it ignores
        identity = {} if os.environ.get("WANDB_SWEEP_ID") else self._identity
        run = wandb.init(
            **self._description,
            **identity,
            dir=str(self._folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=TIMEOUT, finish_timeout=TIMEOUT, x_disable_stats=True
            ),
        )
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        new = {name: value for name, value in self.config.items() if name not in run.config}  # a sweep locks its own
        run.config.update(new)  # type: ignore[no-untyped-call]
        return run


def run_id(config: RunConfig, digest: str) -> str:
    """The id of the W&B run: at most 128 characters, only letters, digits, "_", "." and "-", as W&B requires."""
    names = f"{config.method.label}-{config.dataset.name}-{config.backbone.name}"
    end = f"-seed{config.seed}-{digest}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", names)[: MAX_NAME - len(end)] + end


def metric_name(curve: str) -> str:
    """The W&B metric of a curve of a record: train_loss is train/loss, val200_top1 is val200/top1."""
    return curve.replace("_", "/", 1)


def has_key(url: str) -> bool:
    """Whether there is a key for the server at `url`, in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return urlsplit(url).netloc in hosts


@functools.cache
def _unreachable(url: str) -> str:
    """Why no server answers at `url`, or an empty string. Tries once in a process, through a proxy where one is set."""
    try:
        requests.get(url, timeout=5, allow_redirects=False)
        return ""
    except requests.RequestException as error:
        return f"{url} does not answer: {type(error).__name__}"


@functools.cache
def _print_once(text: str) -> None:
    print(f"aoft_bench: {text}", file=sys.stderr)


def _end_process() -> None:
    """End W&B's own process, which may be broken. W&B starts a new one when it needs it."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()


def _clear_earlier_starts(folder: Path, run_id: str) -> bool:
    """Remove the offline files of earlier starts of a run, so that `wandb sync` uploads each epoch once.

    `wandb sync` appends the files of all starts, and refuses them all if one is empty, as a killed process leaves it.
    The latest start, in `folder`, logs all epochs again, so the earlier files are not needed. If one of them was
    uploaded, only empty ones are removed, and True is returned: the uploaded epochs must not be logged again.
    """
    name = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}")
    earlier = [other for other in folder.parent.iterdir() if name.fullmatch(other.name) and other != folder]
    uploaded = any(list(other.glob("*.wandb.synced")) for other in earlier)
    for other in earlier:
        if not uploaded or all(path.stat().st_size <= EMPTY_FILE for path in other.glob("*.wandb")):
            shutil.rmtree(other, ignore_errors=True)
    return uploaded


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
