"""Weights & Biases as a mirror of the record: never needed, never blocking, offline without a key."""

import contextlib
import functools
import netrc
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from aoft_bench.config.schema import LoggerOptions, RunConfig

LONGEST = 128  # characters of a W&B name
LONGEST_TAG = 64
NO_KEY = "no key: `wandb login` asks for it"
EMPTY = 7  # bytes of a run's file before its first block
PATIENCE = 30  # seconds that a start or an end may wait for W&B's server


class EpochLogger(Logger):
    """Lightning's way to a W&B run: one row an epoch, whose step is the number of epochs done.

    run: W&B's, or None where nothing is mirrored (any more); the first error of W&B ends the mirror, not the training.
    complete: whether W&B has the epochs before a stop already.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run: Any = None
        self.complete = False

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> int | str | None:
        return None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: `Mirror` gives the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log what Lightning measured in an epoch; it counts epochs from 0."""
        self._log(1 + int(metrics["epoch"]), metrics)

    @rank_zero_only
    def replay(self, curves: Mapping[str, list[float]]) -> None:
        """Log the epochs before a stop again, from the curves of a checkpoint (named as those of a record are).

        A killed process leaves nothing offline, since W&B writes its file in blocks of 32 KiB, and the last rows may
        not have been sent online. What W&B's server has already, it leaves out: those steps are behind the run's.
        """
        if self.complete:
            return
        for epoch in range(1, 1 + max((len(values) for values in curves.values()), default=0)):
            row = {metric_name(name): values[epoch - 1] for name, values in curves.items() if len(values) >= epoch}
            self._log(epoch, row)

    def summarize(self, values: dict[str, Any]) -> None:
        """Put values where W&B's tables look for them."""
        if self.run is not None:
            try:
                self.run.log({}, commit=True)  # else the last epoch's row would be written later, over these values
                self.run.summary.update(values)
            except Exception as error:
                self.give_up(error)

    def finish(self, failure: type[BaseException] | None) -> None:
        """End the run; `failure` is what ended the training, if anything did."""
        if self.run is not None:
            try:
                if failure is SystemExit:  # SIGTERM: the cell will go on; a W&B sweep gives it to another agent
                    self.run.mark_preempting()
                self.run.finish(exit_code=1 if failure else 0)
            except Exception as error:
                self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Leave W&B out from now on, with a line, and its process too, so that the next run starts a new one."""
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
    """A context in which a run may be mirrored. logger: for the trainer, or None; a failing W&B is a line on stderr.

    name, group, run_id, job_type, tags: W&B's; config: what W&B shows as the run's configuration. A run that
    W&B knows by its id already goes on.
    """

    def __init__(
        self,
        options: LoggerOptions,
        *,
        name: str,
        group: str,
        run_id: str,
        config: dict[str, Any],
        job_type: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self.options, self.config = options, config
        self._folder = Path(options.dir).expanduser().absolute()  # W&B's process keeps the folder it was started in
        self._shown: dict[str, Any] = {"name": name, "group": group, "job_type": job_type, "tags": list(tags)}
        self._place: dict[str, Any] = {"id": run_id, "project": options.project, "entity": options.entity}
        self.logger: EpochLogger | None = None

    def __enter__(self) -> "Mirror":
        if self.options.name == "none":
            return self
        self.logger = EpochLogger()
        if getattr(rank_zero_only, "rank", 0) == 0:  # of several processes that train one cell, one mirrors it
            try:
                self._start(self.logger)
            except Exception as error:
                self.logger.give_up(error)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: Any) -> None:
        if self.logger is not None:
            self.logger.finish(failure)

    def summarize(self, record: dict[str, Any]) -> None:
        """Mirror the result, the parameter counts and the cost of a record."""
        if self.logger is None:
            return
        metrics = record["metrics"]
        summary: dict[str, Any] = {f"{metrics['split']}/top1": metrics["top1"]}
        summary |= {name: value for name, value in metrics.items() if name.startswith("best_test_epoch")}
        summary |= {f"parameters/{name}": count for name, count in record["parameters"].items()}
        summary |= {f"cost/{name}": value for name, value in record["cost"].items()}
        self.logger.summarize(summary)

    def _start(self, logger: EpochLogger) -> None:
        _check_writable(self._folder)
        mode = self.options.mode if self.options.mode != "auto" else os.environ.get("WANDB_MODE", "auto")
        if mode == "disabled":
            return
        why = self._start_online(logger) if mode in ("auto", "online") else ""
        if logger.run is None:
            if why and (mode, why) != ("auto", NO_KEY):
                _say_once(f"W&B is offline ({why}); runs are kept in {self.options.dir} for `wandb sync`")
            logger.run = self._start_in("offline")
            logger.complete = _clear_earlier_starts(Path(logger.run.settings.sync_dir), logger.run.id)

    def _start_online(self, logger: EpochLogger) -> str:
        """Start online if that can be done now, else say why not."""
        import wandb

        url = wandb.setup().settings.base_url
        if not has_key(url):
            return NO_KEY
        if why := _unreachable(url):
            return why
        try:
            logger.run = self._start_in("online")
            return ""
        except Exception as error:
            _end_process()  # it may still hold the run of this id
            return _line(error)

    def _start_in(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        # the agent of a W&B sweep decides, and W&B would warn of what it ignores
        place = {} if os.environ.get("WANDB_SWEEP_ID") else self._place
        run = wandb.init(
            **self._shown,
            **place,
            dir=str(self._folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=PATIENCE, finish_timeout=PATIENCE, x_disable_stats=True
            ),
        )
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        new = {name: value for name, value in self.config.items() if name not in run.config}  # a sweep's are locked
        run.config.update(new)  # type: ignore[no-untyped-call]
        return run


def mirror_of(config: RunConfig, *, label: str, digest: str, official: bool) -> Mirror:
    """The W&B run of a cell: its id is named by all that names its record, so that running it again continues it.

    label: of the cell, for people; digest: its hash; official: whether its images are proven to be the official split.
    Runs are grouped by backbone, method and dataset, the seeds of one row of a table; the job type is the protocol.
    What a group of conf/ chose stands in the configuration under the name of that group, as in a command.
    """
    tree = config.as_dict()
    protocol, backbone = config.protocol.name, config.backbone.name
    shown: dict[str, Any] = {section: tree[section] for section in ("recipe", "data", "trainer", "seed")}
    shown |= {f"{section}_options": tree[section] for section in ("backbone", "method")}
    shown |= {"dataset": config.dataset.name, "backbone": backbone, "method": config.method_label}
    shown |= {"protocol": protocol, "hash": digest}
    return Mirror(
        config.logger,
        name=label[:LONGEST],
        group=f"{backbone}/{config.method_label}/{config.dataset.name}"[:LONGEST],
        run_id=run_id(config, digest),
        config=shown,
        job_type=protocol,
        tags=[backbone[:LONGEST_TAG], protocol, "official split" if official else "not the official split"],
    )


def run_id(config: RunConfig, digest: str) -> str:
    """At most 128 letters, digits and _ . - : W&B refuses more, and some others that a name may have."""
    names = f"{config.method_label}-{config.dataset.name}-{config.backbone.name}"
    end = f"-seed{config.seed}-{digest}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", names)[: LONGEST - len(end)] + end


def metric_name(curve: str) -> str:
    """What W&B calls a curve of a record: train_loss is train/loss, val200_top1 is val200/top1."""
    return curve.replace("_", "/", 1)


def has_key(url: str) -> bool:
    """Whether W&B could log in at `url`: a key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return urlsplit(url).netloc in hosts


@functools.cache
def _unreachable(url: str) -> str:
    """Why no server answers at `url`, or nothing; asked once a process, and through a proxy where one is set."""
    try:
        requests.get(url, timeout=5, allow_redirects=False)
        return ""
    except requests.RequestException as error:
        return f"{url} does not answer: {type(error).__name__}"


@functools.cache
def _say_once(text: str) -> None:
    print(f"aoft_bench: {text}", file=sys.stderr)


def _end_process() -> None:
    """End W&B's own process, also where it is broken; W&B starts another one when it needs it."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()


def _check_writable(folder: Path) -> None:
    # W&B would write to the system's temporary folder instead, without a word
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _clear_earlier_starts(folder: Path, run_id: str) -> bool:
    """Make `wandb sync` see one run where one was started several times; `folder` is that of the latest start.

    It appends each start to the ones before, and refuses them all where a killed process left an empty file. So the
    others are removed, since the latest holds all their epochs again; unless one was uploaded: then only empty ones
    are, and True is returned, since the uploaded epochs must not be logged again.
    """
    name = re.compile(rf"offline-run-\d+_\d+-{re.escape(run_id)}")
    earlier = [other for other in folder.parent.iterdir() if name.fullmatch(other.name) and other != folder]
    uploaded = any(list(other.glob("*.wandb.synced")) for other in earlier)
    for other in earlier:
        if not uploaded or all(path.stat().st_size <= EMPTY for path in other.glob("*.wandb")):
            shutil.rmtree(other, ignore_errors=True)
    return uploaded


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
