"""The journal of a search: an Optuna study in a file, from which any number of processes take their next trial.

A trial of the study is a setting that is trained from one rung to the next; one that goes on from there is another
trial of the same setting. Trials wait in the study's queue (`enqueue_trial`), are taken from it (`ask`), and are ended
by `tell`: PRUNED at a rung before the last, COMPLETE at the last epoch, FAIL if the setting diverged, or if its process
died, in which case another trial takes its place.

A search has a folder of its own:

    <folder>/journal            the study
    <folder>/turn.lock          held by the process that takes or ends a trial
    <folder>/worker-*.lock      held by a process for as long as it works on the search
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aoft_bench.tuning.halving import DIVERGED, Plan, going_on
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable
from aoft_bench.utils.locks import claim, is_held, preparing

STUDY = "tune"
AGAIN = "delete that folder, which loses no training: trials that ended have records, others checkpoints"


@dataclass(frozen=True)
class Definition:
    """What all processes of a search must agree on. code: digest of the package; cells: of each setting, as it is
    typed, the hashes of its cells, one for each seed; options: how it is searched, as they are typed."""

    code: str
    cells: dict[str, list[str]]
    options: dict[str, str]
    plan: Plan


@dataclass(frozen=True)
class Stretch:
    """A setting that is trained up to a rung, counted from 1. number: of the trial in the study."""

    number: int
    setting: str
    rung: int


class Journal:
    """A search that this process works on. Every method holds the lock of the turn."""

    def __init__(self, folder: Path, definition: Definition, queue: Callable[[], list[str]]) -> None:
        """Open the journal in `folder`, or begin it with the settings that `queue` gives, in that order.

        Raises `UserError` for a folder that cannot be written, and for a journal that is damaged or of another search.
        """
        self.folder, self.path, self.plan = folder, folder / "journal", definition.plan
        self._optuna = _optuna()
        self._worker = f"worker-{uuid.uuid4().hex[:8]}.lock"
        self._taken: Any = None  # the trial of this process
        check_writable(self.path, "the journal of a search")
        with self._turn():
            self._study = self._opened()
            found = self._study.user_attrs
            if not found:  # in one step, since this process may be killed
                self._study.set_user_attr("search", _plain(definition) | {"queue": queue()})
            elif problem := _difference(found["search"], _plain(definition)):
                raise UserError(f"{self.path} is the journal of another search: {problem}; {AGAIN}")
            self.queue: list[str] = self._study.user_attrs["search"]["queue"]

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """As long as this context lasts, others count this process as alive."""
        path = self.folder / self._worker
        with claim(path, "this search", wait=False):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def take(self) -> Stretch | Literal["wait", "done"]:
        """The next stretch for this process; "wait" if there is none until others have ended theirs."""
        with self._turn():
            self._give_up_the_dead()
            self._enqueue()
            states = self._optuna.trial.TrialState
            if not self._trials(states.WAITING):
                return "wait" if self._trials(states.RUNNING) else "done"
            made = self._optuna.distributions
            choices = {
                "setting": made.CategoricalDistribution(self.queue),
                "rung": made.IntDistribution(1, len(self.plan.rungs)),
            }
            self._taken = trial = self._study.ask(choices)
            trial.set_user_attr("worker", self._worker)
            return Stretch(trial.number, trial.user_attrs["setting"], trial.user_attrs["rung"])

    def end(self, stretch: Stretch, score: float) -> None:
        """Note the score of this process's stretch, val200 top-1 in %, or `DIVERGED`."""
        states = self._optuna.trial.TrialState
        with self._turn():
            if score == DIVERGED:
                self._taken.set_user_attr("diverged", True)
                self._study.tell(stretch.number, state=states.FAIL)
                return
            self._taken.report(score, self.plan.rungs[stretch.rung - 1])
            stopped = stretch.rung < len(self.plan.rungs)
            self._study.tell(stretch.number, None if stopped else score, states.PRUNED if stopped else states.COMPLETE)

    def give_back(self, stretch: Stretch) -> None:
        """Let another process take this one's stretch, which it could not end."""
        with self._turn():
            self._study.tell(stretch.number, state=self._optuna.trial.TrialState.FAIL)

    def ended(self) -> dict[Stretch, float]:
        """The scores of all stretches that have ended, in order of their trials."""
        with self._turn():
            return self._ended()

    def _ended(self) -> dict[Stretch, float]:
        found = {}
        for trial in self._trials():
            attributes, scores = trial.user_attrs, trial.intermediate_values
            stretch = Stretch(trial.number, attributes["setting"], attributes["rung"])
            if attributes.get("diverged"):
                found[stretch] = DIVERGED
            elif trial.state.is_finished() and scores:
                found[stretch] = scores[self.plan.rungs[stretch.rung - 1]]
        return found

    def members(self) -> list[list[str]]:
        """Of each rung the settings that are known to be trained up to it, in order of the queue."""
        with self._turn():
            return self._members()

    def _members(self) -> list[list[str]]:
        scores = {(stretch.setting, stretch.rung): score for stretch, score in self._ended().items()}
        rungs, final = [self.queue], True  # final: no more members can come
        for rung, places in enumerate(self.plan.settings[1:], 1):
            members = rungs[-1]
            known = {setting: scores[setting, rung] for setting in members if (setting, rung) in scores}
            to_come = 0 if final else self.plan.settings[rung - 1] - len(members)
            chosen = set(going_on(members, known, places, to_come))
            rungs.append([setting for setting in self.queue if setting in chosen])
            final = final and len(known) == len(members)
        return rungs

    def _enqueue(self) -> None:
        """Put what can be trained and is in no living trial into the queue."""
        there = {
            (trial.user_attrs["setting"], trial.user_attrs["rung"])
            for trial in self._trials()
            if trial.state.name != "FAIL" or trial.user_attrs.get("diverged")
        }
        for rung, settings in enumerate(self._members(), 1):
            for setting in settings:
                if (setting, rung) not in there:
                    attributes = {"setting": setting, "rung": rung}
                    self._study.enqueue_trial({"setting": setting, "rung": rung}, user_attrs=attributes)

    def _give_up_the_dead(self) -> None:
        states = self._optuna.trial.TrialState
        for trial in self._trials(states.RUNNING):
            worker = trial.user_attrs.get("worker", "")
            # without a name: its process died before it could set it, since this one has the turn
            if not worker or not is_held(self.folder / worker):
                self._study.tell(trial.number, state=states.FAIL)
                if worker:
                    (self.folder / worker).unlink(missing_ok=True)

    def _trials(self, *states: Any) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=states or None)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock of the turn. What Optuna raises within, for a file that it cannot read, is a `UserError`."""
        damage = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
        with preparing(f"the next trial in {self.folder}", self.folder / "turn.lock"):
            try:
                yield
            except (*damage, self._optuna.exceptions.OptunaError) as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())
                raise UserError(f"the journal {self.path} is damaged ({why}); {AGAIN}") from error

    def _opened(self) -> Any:
        if self.path.exists() and not self.path.is_file():
            raise UserError(f"{self.path} must be the journal of a search, but is no file; move it away")
        journal = self._optuna.storages.journal
        storage = self._optuna.storages.JournalStorage(journal.JournalFileBackend(str(self.path)))
        sampler = self._optuna.samplers.RandomSampler()  # draws nothing: all trials come from the queue
        if self._optuna.get_all_study_names(storage) == [STUDY]:
            return self._optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
        if self.path.stat().st_size:
            raise UserError(f"{self.path} is no journal of a search; {AGAIN}")
        return self._optuna.create_study(study_name=STUDY, storage=storage, sampler=sampler, direction="maximize")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "aoft-bench tune needs the package optuna: pip install -e '.[tune]'; the whole grid needs nothing more: "
            "python -m aoft_bench -cd sweeps -cn tune"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _plain(definition: Definition) -> dict[str, Any]:
    """A definition as JSON gives it back."""
    plan = definition.plan
    return {
        "code": definition.code,
        "cells": definition.cells,
        "options": definition.options,
        "rungs": list(plan.rungs),
        "settings": list(plan.settings),
    }


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between the definition in a journal and that of this command, in words; empty if nothing does."""
    if there["code"] != here["code"]:
        return f"its scores are of other code, {there['code'][:8]}, this is {here['code'][:8]}"
    ours, theirs = here["cells"], there["cells"]
    if new := [setting for setting in ours if setting not in theirs]:
        return f"{new[0]} is not in it; it has {len(theirs)} settings, this command {len(ours)}"
    if gone := [setting for setting in theirs if setting not in ours]:
        return f"it has {gone[0]} too; it has {len(theirs)} settings, this command {len(ours)}"
    if theirs != ours:
        return "options that do not vary over it, such as the batch size, are not those of this command"
    for name in ("options", "rungs", "settings"):
        if there[name] != here[name]:
            return f"it has {name} {there[name]}, this command {here[name]}"
    return ""
