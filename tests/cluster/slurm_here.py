"""A real Slurm of one node on this machine, in a folder of its own: munged, slurmctld, slurmd; started and stopped."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PATIENCE = 120  # seconds

CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
ReturnToService=2
KillWait=30
MinJobAge=30
MessageTimeout=60
SlurmdTimeout=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=here Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here; empty if one can."""
    without = [name for name in PROGRAMS if not program(name)]
    if without:
        return f"no {', '.join(without)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd must be started by root"


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextlib.contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start a Slurm; the environment in which its commands find it. All of it is gone at the end."""
    host = socket.gethostname().split(".")[0]
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    (folder / "munge").chmod(0o755)
    text = CONF.format(host=host, controller=_free_port(), daemon=_free_port(), folder=folder, cpus=cpus)
    (folder / "slurm.conf").write_text(text.lstrip())
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_munged(folder / "munge"))
        for name in ("slurmctld", "slurmd"):
            # -D: in the foreground, so that they are ours to end
            process = subprocess.Popen(
                [str(program(name)), "-D"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
        stack.callback(_cancel_all, environment)
        _until(lambda: "idle" in command(environment, "sinfo", "-h", "-o", "%T"), f"no idle node, see {folder}/*.log")
        yield environment


def command(environment: dict[str, str], *words: str) -> str:
    """Output of a command of Slurm's."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.strip()


@contextlib.contextmanager
def _munged(folder: Path) -> Iterator[None]:
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    words = [str(program("munged")), "--foreground", "--force", f"--socket={folder / 'socket'}", f"--key-file={key}"]
    words += [f"--{name}-file={folder / name}" for name in ("pid", "log", "seed")]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until((folder / "socket").exists, f"munged did not start, see {folder}/log")
        yield
    finally:
        _end(process)


def _cancel_all(environment: dict[str, str]) -> None:
    for state in ("--state=PENDING", "--state=RUNNING"):
        command(environment, "scancel", state)
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        _until(lambda: not command(environment, "squeue", "-h"), "jobs that do not end")
    for job in command(environment, "squeue", "-h", "-o", "%A").split():
        command(environment, "scancel", "--signal=KILL", "--full", job)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until(ready, why: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, why
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
