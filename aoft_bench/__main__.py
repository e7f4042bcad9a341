"""The door: `python -m aoft_bench method=aoft dataset=cifar100` composes conf/ with Hydra and runs one cell.

With -m, or a primary configuration of sweeps/, each job of the sweep is a cell; a cell that fails for a reason its
user can mend is named, the others go on, and the exit code is 2.
"""

import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

from aoft_bench.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Ledger:
    """What became of the cells of this process."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.failures: list[str] = []


def main() -> int:
    """Run what the command line asks for. Exit code 0: done; 2: a mistake of the user's, explained in a line."""
    # Lightning would note the signal and let the sweep go on; there is nothing half-done to save, so end at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ledger = Ledger()
    try:
        _compose_and_run(ledger)
    except UserError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("\naoft_bench: interrupted; cells that were finished are kept", file=sys.stderr)
        return 130
    if len(ledger.records) > 1:
        from aoft_bench.results.tables import text_tables

        print("\n" + text_tables(ledger.records))
    if len(ledger.records) + len(ledger.failures) > 1 and ledger.failures:
        return _refuse(
            f"{len(ledger.failures)} of {len(ledger.failures) + len(ledger.records)} cells failed (named above)"
        )
    return 2 if ledger.failures else 0


def _compose_and_run(ledger: Ledger) -> None:
    if sys.argv[1:] and sys.argv[1] in ("-h", "--help"):
        print(USAGE)
        return
    import hydra
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from aoft_bench.config import conf_dir
    from aoft_bench.overrides import check_command_line

    check_command_line(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed with a traceback

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    def job(tree: "DictConfig") -> None:
        _one_cell(tree, ledger)

    try:
        job()
    except yaml.YAMLError as error:
        raise UserError(f"a configuration file is not YAML: {' '.join(str(error).split())}") from None
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise UserError(f"{text}; `python -m aoft_bench --help` shows how to ask") from None


def _one_cell(tree: "DictConfig", ledger: Ledger) -> None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from aoft_bench.config import from_dict
    from aoft_bench.run import run

    chosen = HydraConfig.get()
    overrides = OmegaConf.to_container(chosen.overrides.task, resolve=False)  # as they were typed
    assert isinstance(overrides, list)
    try:
        try:
            plain = OmegaConf.to_container(tree, resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(str(error).splitlines()[0]) from None
        outcome = run(from_dict(plain), _command(overrides))  # type: ignore[arg-type]
    except UserError as error:
        ledger.failures.append(str(error))
        _refuse(str(error) if str(chosen.mode) == "RunMode.RUN" else f"[{' '.join(overrides)}] {error}")
        return
    if outcome.record is not None:
        ledger.records.append(outcome.record)
        _report(outcome)


def _command(overrides: list[str]) -> str:
    """The command that runs this one cell again, also when a sweep ran it."""
    from hydra._internal.utils import get_args_parser

    asked = get_args_parser().parse_args(sys.argv[1:])
    words = ["python", "-m", "aoft_bench"]
    words += ["-cd", asked.config_dir] if asked.config_dir else []
    words += ["-cn", asked.config_name, "hydra.mode=RUN"] if asked.config_name else []
    return shlex.join(words + overrides)


def _report(outcome: Any) -> None:
    record = outcome.record
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


USAGE = """python -m aoft_bench [name=value ...]                one cell: train, test, record
  method=aoft dataset=cifar100 backbone=vit_b16_in21k   what to run; `python -m aoft_bench.list` shows the choices
  protocol=clean|tune|literature  seed=0                which images train and score
  recipe.lr=1e-3 recipe.epochs=100 method.rank=8        any value of conf/; `--cfg job` prints them all
  hparams=none                                          without the authors' per-task settings
  data.root=DIR  backbone.checkpoint=FILE               your images, your weights
  dry_run=true                                          build, print the parameter table, stop
  -m seed=0,1,2 method=aoft,lora                        several cells
  -cd sweeps -cn demo                                   a table of runs
no network, no data?   python -m aoft_bench backbone=vit_nano dataset=digits trainer=cpu logger=none"""


if __name__ == "__main__":
    sys.exit(main())
