"""The door: `python -m aoft_bench method=aoft dataset=cifar100` composes conf/ with Hydra and runs one cell.

With -m, or a primary configuration of sweeps/, each job of the sweep is a cell, here or where a launcher puts it. A
cell that fails is named, the others go on, and the exit code says so.
"""

import datetime
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from aoft_bench.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aoft_bench.experiments.run import Outcome
    from aoft_bench.experiments.sweep import Job

# the one cell of a command that is no sweep
_single: list["Job"] = []


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for. Exit code 0: done; 2: something failed, named in a line."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    install_signal_handlers()
    _single.clear()
    folder = Path("outputs/multirun") / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}"
    folder = _compose_and_run(list(arguments), folder)
    if not (folder / "multirun.yaml").is_file():
        return 2 if any(job.outcome == "failed" for job in _single) else 0
    return _end_of_sweep(folder)


def install_signal_handlers() -> None:
    """Let SIGTERM end this process at once, wherever it is: a cell keeps the checkpoint of its last epoch.

    Lightning would note the signal and let the sweep go on, submitit would ignore it. Called in each worker too; does
    nothing in a thread.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # Slurm often sends two, the second into the cleaning up
    print(f"aoft_bench: stopped by {signal.Signals(number).name}; {INTERRUPTED}", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def _compose_and_run(arguments: list[str], folder: Path) -> Path:
    """Run the cell or the sweep; returns the folder of the sweep, `folder` unless the command line names another."""
    import hydra
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from aoft_bench.config.command_line import check_command_line
    from aoft_bench.config.schema import conf_dir

    asked = check_command_line(arguments)
    given = [word.partition("=")[2] for word in asked.overrides if word.startswith("hydra.sweep.dir=")]
    if given:
        folder = Path(given[-1])
    else:
        # beside the other overrides, which a flag may follow
        last = max((i for i, word in enumerate(arguments) if word in asked.overrides), default=-1)
        arguments.insert(last + 1, f"hydra.sweep.dir={folder}")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed with a traceback
    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    given_to_process = sys.argv
    sys.argv = [sys.argv[0], *arguments]  # where hydra.main looks for its arguments
    try:
        start(run_job)()
    except yaml.YAMLError as error:
        raise UserError(f"a configuration file is not YAML: {' '.join(str(error).split())}") from None
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise UserError(f"{text}; `aoft-bench run --help` shows how to ask") from None
    finally:
        sys.argv = given_to_process
    return folder


def run_job(tree: "DictConfig") -> None:
    """One job of Hydra's, in whichever process its launcher put it. Launchers find this function by its name."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from aoft_bench.experiments.sweep import Job, note

    install_signal_handlers()
    chosen = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(chosen.overrides.task, resolve=False)  # as they were typed
    alone = str(chosen.mode) == "RunMode.RUN"
    try:
        outcome = _cell(tree, _command(chosen, overrides), wait=alone)
    except UserError as error:
        job = Job(overrides, "failed", problem=str(error))
        _refuse(str(error) if alone else f"[{job.name}] {error}")
    except Exception as error:
        if alone:
            raise
        job = Job(overrides, "failed", problem=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        _refuse(f"[{job.name}] {job.problem} (the failure's record has the traceback)")
    else:
        job = Job(overrides, outcome.kind, record=str(outcome.path) if outcome.path else None)
        _report(outcome, job)
    if alone:
        _single.append(job)
    else:
        note(Path(chosen.sweep.dir), chosen.job.num, job)


def _cell(tree: "DictConfig", command: str, *, wait: bool) -> "Outcome":
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from aoft_bench.config.schema import from_dict
    from aoft_bench.experiments.run import run

    try:
        plain = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from None
    return run(from_dict(plain), command, wait=wait)  # type: ignore[arg-type]


def _command(chosen: Any, overrides: list[str]) -> str:
    """The command that runs this one cell again, also when a sweep ran it."""
    words = ["python", "-m", "aoft_bench"]
    given = [source.path for source in chosen.runtime.config_sources if source.provider == "command-line"]
    words += ["-cd", os.path.relpath(given[0], chosen.runtime.cwd)] if given else []
    words += ["-cn", chosen.job.config_name, "hydra.mode=RUN"] if chosen.job.config_name != "config" else []
    return shlex.join(words + overrides)


def _end_of_sweep(folder: Path) -> int:
    """Print the table of a sweep and how its cells ended; exit code 2 if any failed or is missing."""
    from aoft_bench.experiments.sweep import jobs_in, records_of, summary
    from aoft_bench.results.files import text_tables

    jobs = jobs_in(folder)
    records = records_of(jobs)
    if len(records) > 1:
        print("\n" + text_tables(records))
    text = summary(jobs)
    if any(job.outcome in ("failed", "missing") for job in jobs):
        return _refuse(text)
    print(text)
    return 0


def _report(outcome: "Outcome", job: "Job") -> None:
    record = outcome.record
    if outcome.kind == "elsewhere":
        print(f"[{job.name}] runs in another process; left to it", flush=True)
    if record is None:
        return
    metrics, parameters, cost = record["metrics"], record["parameters"], record["cost"]
    print(
        f"{record['method']} · {record['dataset']} · {record['backbone']} · seed {record['seed']}: "
        f"{metrics['split']} top-1 {metrics['top1']:.2f} % ({metrics['correct']:,} of {metrics['total']:,}), "
        f"{parameters['trained']:,} + head {parameters['head']:,} trained, "
        f"{cost['train_seconds']:.0f} s{' (done before)' if outcome.kind == 'skipped' else ''}"
    )
    print(f"  {outcome.path}", flush=True)


def _refuse(text: str) -> int:
    print(f"aoft_bench: {text}", file=sys.stderr, flush=True)
    return 2


INTERRUPTED = "finished cells are kept, and the last epoch of an unfinished one: the same command goes on from there"

USAGE = """python -m aoft_bench [name=value ...]                one cell: train, test, record
  method=aoft dataset=cifar100 backbone=vit_b16_in21k   what to run; `aoft-bench list` shows the choices
  protocol=clean|tune|literature  seed=0                which images train and score
  recipe.lr=1e-3 recipe.epochs=100 method.rank=8        any value of conf/; `--cfg job` prints them all
  hparams=none                                          without the authors' per-task settings
  hparams=tuned                                         what `select` chose on val200 (docs/tuning.md)
  data.root=DIR  backbone.checkpoint=FILE               your images, your weights
  trainer=ddp trainer.devices=4                         one cell on several GPUs of this machine
  dry_run=true                                          build, print the parameter table, stop
  -m seed=0,1,2 method=aoft,lora                        several cells
  -cd sweeps -cn demo                                   a table of runs
no network, no data?   python -m aoft_bench backbone=vit_nano dataset=digits trainer=cpu logger=none"""
