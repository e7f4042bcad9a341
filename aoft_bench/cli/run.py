"""`aoft-bench run`, or no command word: Hydra composes conf/ and runs one cell, or each cell of a sweep.

With -m, or a primary configuration of sweeps/, each job of the sweep is a cell, in this process or where a launcher
puts it. A cell that fails is named, the others go on, and the exit code says so.
"""

import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from aoft_bench.cli import HELP_FLAGS, method_class
from aoft_bench.config.command_line import read_command_line
from aoft_bench.config.compose import Composer, parse_override, register_plugins
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.interpolations import resolved
from aoft_bench.config.schema import from_dict
from aoft_bench.experiments.sweep import Job, note, place, read_notes, records_of, summary
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.fast_imports import uncollected
from aoft_bench.utils.streams import steady_streams

if TYPE_CHECKING:
    from aoft_bench.experiments.done import Outcome


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for. Exit code 0: done; 2: something failed, named in a line."""
    if HELP_FLAGS & set(arguments):
        print(USAGE)
        return 0
    install_signal_handlers()
    line = read_command_line(arguments, method_class)
    if line.name != "config":
        line.composer.sweep_params(line.name)  # for its checks, before the first cell starts
        given = [w for w in line.words if w.startswith("results.") and not parse_override(w).is_sweep_override()]
        _check_results(line.composer.compose_unresolved(line.name, given))
    register_plugins()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised instead of being printed with a traceback
    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    of_process = sys.argv
    sys.argv = [sys.argv[0], *line.arguments]  # where hydra.main reads its arguments
    try:
        with line.composer.user_errors(), _without_mode(line.folder, line.name, line.words):
            start(run_job)()
    except SystemExit as ended:  # a cell or a sweep that failed, or a signal
        return int(ended.code or 0)
    finally:
        sys.argv = of_process
    return 0


@contextmanager
def _without_mode(folder: Path | None, name: str, words: Sequence[str]) -> Iterator[None]:
    """Within it Hydra does not compose a configuration in which nothing gives hydra.mode, only to look for that.

    It takes as long as composing what is run. There is no option for it, so a private method of Hydra is replaced; a
    Hydra that does not have it is left as it is.
    """
    private: Any = None
    with suppress(ImportError):
        private = importlib.import_module("hydra._internal.hydra")
    of_run: Any = getattr(private, "Hydra", None)
    if folder or name != "config" or any("hydra" in word for word in words) or not hasattr(of_run, "get_mode"):
        yield
        return
    of_hydra = of_run.get_mode
    of_run.get_mode = lambda self, config_name, overrides: None
    try:
        yield
    finally:
        of_run.get_mode = of_hydra


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


def run_job(tree: DictConfig) -> None:
    """One job of Hydra's, in whichever process its launcher put it. Launchers find this function by its name.

    A job of a sweep leaves a note of how it ended; a single cell that fails ends the process with code 2.
    """
    install_signal_handlers()
    steady_streams()
    of_hydra = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(of_hydra.overrides.task, resolve=False)  # as they were typed
    single = str(of_hydra.mode) == "RunMode.RUN"
    if not single and OmegaConf.select(tree, "trainer.progress") != "none":
        where = place(Path(of_hydra.sweeper.notes), of_hydra.job.num)
        print(f"[{where}] {' '.join(overrides)}", file=sys.stderr, flush=True)
    try:
        outcome = _run_cell(tree, of_hydra, overrides, wait=single)
    except UserError as error:
        if single:
            sys.exit(_refuse(str(error)))
        job = Job(overrides, "failed", problem=str(error))
        _refuse(f"[{job.name}] {error}")
    except Exception as error:
        if single:
            raise
        job = Job(overrides, "failed", problem=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        _refuse(f"[{job.name}] {job.problem} (the failure's record has the traceback)")
    else:
        job = _ended(overrides, outcome)
        _report(outcome, job)
    if not single:
        note(Path(of_hydra.sweeper.notes), of_hydra.job.num, job)


def skip_done(sweep: DictConfig, planned: list[list[str]]) -> tuple[list[Job], list[list[str]]]:
    """(the cells of a sweep that are done already, with a line printed for each, the overrides of the others).

    Here cells that choose the same files are composed together, as for `aoft-bench status`; each of the others is
    composed again where it runs. What cannot be composed here is left to that, and so is all of it where cells have
    folders or options of Hydra's of their own.

    sweep: the configuration of the sweep, with Hydra's options; planned: the overrides of each cell.
    """
    from aoft_bench.backbones.choice import completed
    from aoft_bench.experiments.done import Finder
    from aoft_bench.records.unfinished import remove_finished

    root = Path(str(sweep.results.root))
    of_their_own = any(word.lstrip("+~").startswith("hydra") for words in planned for word in words)
    if sweep.hydra.job.chdir or of_their_own or not next((root / "records").rglob("*.json"), None):
        return [], planned
    composer, finder = Composer(_given_folders(sweep.hydra)), Finder()
    done: list[Job] = []
    left = list(planned)
    with suppress(UserError):
        remove_finished(root)
        trees = composer.compose_jobs(str(sweep.hydra.job.config_name), planned)
        for words, tree in zip(planned, trees, strict=True):
            with suppress(UserError):  # of this cell alone, which will say so
                if outcome := finder.done_before(completed(tree)):
                    done.append(_ended(words, outcome))
                    left.remove(words)
                    _report(outcome, done[-1])
    return done, left


def end_of_sweep(notes: Path, launched: list[list[str]], done: list[Job]) -> int:
    """Print the table of a sweep and how its cells ended; exit code 2 if any failed or is missing.

    notes: the folder of the notes; launched: the overrides of each cell that was to run; done: those that were not.
    """
    from aoft_bench.results.files import text_tables

    jobs = done + read_notes(notes, launched)
    records, left_out = records_of(jobs)
    for text in left_out:
        _refuse(f"left out {text}")
    if len(records) > 1:
        print("\n" + text_tables(records))
    text = summary(jobs)
    if any(job.outcome in ("failed", "missing") for job in jobs):
        return _refuse(text)
    print(text)
    return 0


def _check_results(tree: dict[str, Any]) -> None:
    """Raise `UserError` where results.reproduces names no published row."""
    results = tree.get("results") or {}
    if isinstance(results, dict) and (name := results.get("reproduces")) is not None:
        from aoft_bench.results.reproduction import check_target

        check_target(Path(str(results.get("root"))), str(name))


def _run_cell(tree: DictConfig, of_hydra: Any, overrides: list[str], *, wait: bool) -> "Outcome":
    plain: Any = OmegaConf.to_container(tree, resolve=False)
    composer, name = Composer(_given_folders(of_hydra)), of_hydra.job.config_name
    options, scaled = composer.scaled(resolved(plain), name, overrides)
    _check_results(options)
    from aoft_bench.backbones.choice import completed
    from aoft_bench.experiments.done import Finder
    from aoft_bench.records.unfinished import remove_finished

    whole = completed(options)
    if outcome := Finder().done_before(whole):
        remove_finished(Path(options["results"]["root"]))
        return outcome
    if scaled:
        print(f"aoft_bench: {scaled}", file=sys.stderr, flush=True)
    with uncollected(keep=True):
        config = from_dict(whole, method_class, lambda text: composer.origins(name, overrides).hint(text))
        from aoft_bench.experiments.run import run  # imports torch
    return run(config, _command(of_hydra, overrides), wait=wait)


def _ended(overrides: list[str], outcome: "Outcome") -> Job:
    return Job(overrides, outcome.kind, record=str(outcome.path.absolute()) if outcome.path else None)


def _given_folders(of_hydra: Any) -> list[Path]:
    """The folder of -cd, if it is given."""
    return [Path(one.path) for one in of_hydra.runtime.config_sources if one.provider == "command-line"][:1]


def _command(of_hydra: Any, overrides: list[str]) -> str:
    """The command that runs this one cell again, also when a sweep ran it."""
    given = _given_folders(of_hydra)
    folder = Path(os.path.relpath(given[0], of_hydra.runtime.cwd)) if given else None
    return cell_command(folder, of_hydra.job.config_name, overrides)


def cell_command(folder: Path | None, name: str, overrides: list[str]) -> str:
    """The command of one cell. folder, name: of -cd and -cn; overrides: of the cell."""
    words = ["python", "-m", "aoft_bench"]
    words += ["-cd", str(folder)] if folder else []
    words += ["-cn", name, "hydra.mode=RUN"] if name != "config" else []
    return shlex.join(words + overrides)


def _report(outcome: "Outcome", job: "Job") -> None:
    record = outcome.record
    if outcome.kind == "elsewhere":
        print(f"[{job.name}] runs in another process; left to it", flush=True)
    if record is None:
        return
    metrics, parameters, seconds = record["metrics"], record["parameters"], record["cost"].get("train_seconds")
    shifts = "".join(f"{name} {one['top1']:.2f} %, " for name, one in metrics.get("shifts", {}).items())
    print(
        f"{record['method']} · {record['dataset']} · {record['backbone']} · seed {record['seed']}: "
        f"{metrics['split']} top-1 {metrics['top1']:.2f} % ({metrics['correct']:,} of {metrics['total']:,}), "
        f"{shifts}{parameters['trained']:,} + head {parameters['head']:,} trained, "
        f"{'time not recorded' if seconds is None else f'{seconds:.0f} s'}"
        f"{' (done before)' if outcome.kind == 'skipped' else ''}"
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
no GPU, or a short try?
  python -m aoft_bench experiment=quick method=lora     two epochs of a small network on digits, seconds
  recipe.epochs=1                                       of anything; warm-up and cool-down are scaled with them
no network, no data?   python -m aoft_bench backbone=vit_nano dataset=digits trainer=cpu logger=none"""
