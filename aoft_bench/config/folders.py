"""Where conf/ and sweeps/ are. Light: a typing error on the command line looks there."""

from pathlib import Path

SWEEPS = Path("sweeps")


def conf_dir() -> Path:
    """The folder of YAML files: conf/ of a checkout (also of an editable install), or the copy inside a wheel."""
    return _shipped("conf")


def sweeps_dir() -> Path:
    """The folder of sweeps: ./sweeps, or, where there is none, that of a checkout or the copy inside a wheel."""
    return SWEEPS if SWEEPS.is_dir() else _shipped(SWEEPS.name)


def _shipped(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / name
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / name
