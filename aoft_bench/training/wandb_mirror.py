"""Weights & Biases as a mirror of the record: never needed, never blocking, offline without a key."""

import netrc
import os
import sys
from pathlib import Path
from typing import Any

from aoft_bench.config import LoggerOptions


class Mirror:
    """A context in which a run may be mirrored. logger: Lightning's, or None; a failing W&B is a line on stderr."""

    def __init__(self, options: LoggerOptions, *, name: str, group: str, run_id: str, config: dict[str, Any]) -> None:
        self.options, self.name, self.group, self.run_id, self.config = options, name, group, run_id, config
        self.logger: Any = None

    def __enter__(self) -> "Mirror":
        if self.options.name == "none":
            return self
        try:
            self.logger = self._start()
        except Exception as error:
            self._give_up(error)
        return self

    def __exit__(self, *failure: Any) -> None:
        if self.logger is not None:
            try:
                import wandb

                wandb.finish(exit_code=1 if failure[0] else 0)
            except Exception as error:
                self._give_up(error)

    def summarize(self, record: dict[str, Any]) -> None:
        """Put the result and the parameter counts where W&B's tables look for them."""
        if self.logger is None:
            return
        try:
            summary = {f"{record['metrics']['split']}/top1": record["metrics"]["top1"]}
            summary |= {f"parameters/{name}": count for name, count in record["parameters"].items()}
            summary |= {f"cost/{name}": value for name, value in record["cost"].items()}
            self.logger.experiment.summary.update(summary)
        except Exception as error:
            self._give_up(error)

    def _start(self) -> Any:
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        folder = Path(self.options.dir)
        folder.mkdir(parents=True, exist_ok=True)
        offline = self.options.mode == "offline" or (self.options.mode == "auto" and not has_key())
        logger = WandbLogger(
            project=self.options.project,
            entity=self.options.entity,
            name=self.name,
            group=self.group,
            id=self.run_id,
            save_dir=str(folder),
            offline=offline,
            resume="allow" if not offline else None,
            settings=wandb.Settings(console="off", silent=True, init_timeout=30, x_disable_stats=True),
        )
        logger.experiment.config.update(self.config, allow_val_change=True)
        return logger

    def _give_up(self, error: Exception) -> None:
        self.logger = None
        print(f"aoft_bench: W&B is left out ({type(error).__name__}: {error}); the record is kept", file=sys.stderr)


def has_key() -> bool:
    """Whether W&B could log in: a key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
