"""Run a cell of a table once: skip it if its record exists, wait if another process runs it, else run it."""

import re
from collections import Counter
from typing import Any

from aoft_bench import data
from aoft_bench.backbones.layout import VIT_B16, chosen_blocks
from aoft_bench.config.schema import RunConfig
from aoft_bench.experiments.device import device_of, processes_of
from aoft_bench.experiments.done import Outcome, skipped
from aoft_bench.experiments.experiment import prepare_experiment, run_experiment
from aoft_bench.methods import Handle
from aoft_bench.records.code_version import code_digest, git_state
from aoft_bench.records.files import CellFiles, read_record
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
from aoft_bench.training.model import build_model
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


def _before(files: CellFiles, trial: dict[str, Any] | None) -> Outcome | None:
    """The outcome for a cell that has its record, or, of a trial, got to its rung before with this code; else None."""
    if files.record.is_file():
        return skipped(files.record)
    if trial is None or not files.stopped.is_file():
        return None
    stopped = read_record(files.stopped)
    far = len(stopped["curves"]["val200_top1"]) >= trial["rungs"][trial["rung"] - 1]
    return Outcome("skipped", files.stopped, stopped) if far and stopped.get("code") == code_digest() else None


def dry_run(config: RunConfig) -> None:
    """Build the model without weights and print its parameter table. Needs data only if that defines the classes."""
    task = data.task_of(config.dataset)
    classes = task.classes or prepare_experiment(config).prepared.classes
    adapted = build_model(config, classes, device_of(config.trainer), weights=False)
    title = f"{config.method.label} on {config.backbone.name}, {classes} classes"
    if config.method.options.prepares and config.method.options.count(VIT_B16) is None:
        title += "\nwhat is trained is chosen by the images; these sizes are of a choice of the same budget"
    blocks = config.method.options.blocks
    if blocks != "all":
        numbers = ", ".join(map(str, chosen_blocks(adapted.model, blocks)))
        last = len(chosen_blocks(adapted.model, "all")) - 1
        title += f"\nmethod.blocks={blocks}: it acts on block {numbers} of 0 to {last}, and on what stands behind"
    print(parameter_table(adapted.handle, title))


def parameter_table(handle: Handle, title: str) -> str:
    """A text table of what is trained, blocks summed, and what is frozen."""
    counts = handle.parameter_counts()
    rows: Counter[str] = Counter()
    for name, parameter in handle.trained():
        rows[re.sub(r"\.\d+(?=\.|$)", ".*", name)] += parameter.numel()
    width = max(map(len, [*rows, "trained without the head"]))
    lines = [title] + [f"  {name:<{width}}  {count:>12,}" for name, count in rows.items()]
    share = 100 * counts["trained"] / counts["backbone"]
    lines += [
        "  " + "-" * (width + 14),
        f"  {'trained without the head':<{width}}  {counts['trained']:>12,}   {share:.3f} % of the backbone",
        f"  {'trained with the head':<{width}}  {counts['trained_with_head']:>12,}",
        f"  {'backbone':<{width}}  {counts['backbone']:>12,}",
    ]
    return "\n".join(lines)
