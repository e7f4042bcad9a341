"""Run a cell of a table once: skip it if its record exists, wait if another process runs it, else run it."""

from typing import Any

from aoft_bench.config.schema import RunConfig
from aoft_bench.experiments.ddp import fit_in_processes
from aoft_bench.experiments.description import describe, facts_of
from aoft_bench.experiments.device import processes_of
from aoft_bench.experiments.done import Outcome, skipped
from aoft_bench.experiments.dry_run import dry_run
from aoft_bench.experiments.experiment import Experiment, prepare_experiment
from aoft_bench.experiments.scoring import score_model
from aoft_bench.experiments.start import announce
from aoft_bench.records.code_version import code_digest, git_state
from aoft_bench.records.files import CellFiles, read_record, write_record
from aoft_bench.records.predictions import Predictions, check_predictions, write_predictions
from aoft_bench.records.schema import is_stopped
from aoft_bench.records.unfinished import (
    note_failure,
    refuse_other_code,
    remove_finished,
    remove_leftovers,
    remove_unfinished,
    worker_noted,
)
from aoft_bench.training import hardware
from aoft_bench.training.fit import fit
from aoft_bench.training.trained_file import write_trained
from aoft_bench.training.wandb import Mirror
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable, user_path
from aoft_bench.utils.locks import claim


def run(config: RunConfig, command: str, *, wait: bool = True, trial: dict[str, Any] | None = None) -> Outcome:
    """Run a cell if it has no record yet. command: what the record says reproduces it.

    If another process runs the same cell, waits for it, or with wait=False returns at once. A run that was stopped
    goes on from its last epoch. trial: of `aoft-bench tune`, up to a rung, unless the cell got so far before; see
    `run_experiment`. An error leaves a failure record (see `note_failure`) and is raised.
    """
    code_digest(), git_state()  # read now: a sweep may run for hours while the checkout changes
    hardware.prepare_cpu(config.trainer.threads)
    if config.dry_run:
        dry_run(config)
        return Outcome("dry run", None, None)
    processes = processes_of(config.trainer)
    experiment = prepare_experiment(config)
    files, force = experiment.files, config.results.mode == "force"
    root = user_path(config.results.root, "results.root")
    remove_finished(root)
    if not force and (outcome := _before(files, trial)):
        return outcome
    if config.results.mode == "only-cached":
        raise UserError(f"{experiment.label} has no record at {files.record}; results.mode=missing runs it")
    for path in (files.record, files.trained, files.predictions, files.lock, *([files.stopped] if trial else [])):
        check_writable(path)
    refuse_other_code(root)
    with claim(files.lock, experiment.label, wait=wait) as claimed:
        if not claimed:
            return Outcome("elsewhere", files.record, None)
        if not force and (outcome := _before(files, trial)):  # another process has written it meanwhile
            if files.record.is_file():
                remove_unfinished(files)
            return outcome
        remove_leftovers(files)
        with worker_noted(files.worker):
            try:
                record = run_experiment(experiment, command, processes, trial)
            except Exception as error:
                note_failure(files.failure, experiment.label, command, config.as_dict(), error)
                raise
        if is_stopped(record):
            return Outcome("done", files.stopped, record)
        remove_unfinished(files)
    return Outcome("done", files.record, record)


def run_experiment(
    experiment: Experiment, command: str, processes: int = 1, trial: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train, score once, save what was trained, and write the record, which is returned.

    command: what the record says reproduces it. processes: how many train together. trial: of `aoft-bench tune`, see
    `records.schema.Trial`; one that ends at an earlier rung leaves its record in stopped/, and a checkpoint to go on.
    """
    config, files = experiment.config, experiment.files
    _ = experiment.copies  # reads the manifest: a damaged one is found before training
    hardware.reset_peak_memory(experiment.device)
    adapted = experiment.build_model()
    until = None if trial is None else trial["rungs"][trial["rung"] - 1]
    official = experiment.prepared.official
    label, digest, facts = experiment.label, experiment.digest, facts_of(experiment)
    with Mirror(config, label=label, digest=digest, official=official, facts=facts) as mirror:
        announce(experiment, adapted, mirror.where, processes)
        if processes == 1:
            trained = fit(experiment.job(adapted, mirror.logger, until=until))
        else:
            trained = fit_in_processes(
                config,
                adapted.handle,
                processes,
                label=experiment.label,
                digest=experiment.digest,
                checkpoint=files.checkpoint,
                logger=mirror.logger,
                until=until,
            )
        score = score_model(experiment, adapted)
        record = describe(experiment, adapted, trained, score, command)
        if trial is not None:
            record["trial"] = trial
        if is_stopped(record):
            write_record(files.stopped, record)
            return record
        record["trained_sha256"] = write_trained(files.trained, adapted.handle.state_dict())
        record["cost"]["trained_file_bytes"] = files.trained.stat().st_size
        _keep_predictions(files, score.predictions, record, config.results.predictions)
        write_record(files.record, record)
        mirror.summarize(record)
    return record


def _keep_predictions(files: CellFiles, predictions: Predictions, record: dict[str, Any], kept: str) -> None:
    """Write predictions where they are `kept`, and name their file in the record; else remove those of a run before."""
    if kept == "none":
        files.predictions.unlink(missing_ok=True)
        return
    check_predictions(predictions, record)
    record["predictions_sha256"] = write_predictions(files.record, predictions, record["data"]["manifest"])


def _before(files: CellFiles, trial: dict[str, Any] | None) -> Outcome | None:
    """The outcome for a cell that has its record, or, of a trial, got to its rung before with this code; else None."""
    if files.record.is_file():
        return skipped(files.record)
    if trial is None or not files.stopped.is_file():
        return None
    stopped = read_record(files.stopped)
    far = len(stopped["curves"]["val200_top1"]) >= trial["rungs"][trial["rung"] - 1]
    return Outcome("skipped", files.stopped, stopped) if far and stopped.get("code") == code_digest() else None
