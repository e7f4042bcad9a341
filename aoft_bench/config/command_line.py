"""Checks of the command line before Hydra composes it, so that one error lists every problem.

Hydra stops at the first one. Here each override is held against the folders of conf/ (groups) and the dataclasses of
config.py and the methods (values); what passes may still be refused when the whole is composed.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from aoft_bench import methods
from aoft_bench.config import choices as presets
from aoft_bench.config.check import check_value, problems_of
from aoft_bench.config.schema import SECTIONS, SHORTHANDS, Scalars, conf_dir
from aoft_bench.experiments import launchers as launching
from aoft_bench.utils.errors import UserError, unknown_text

# what can be asked of Hydra itself is left to Hydra
PASSED_ON = ("hydra", "hydra/")


def check_command_line(arguments: list[str]) -> argparse.Namespace:
    """The arguments as Hydra reads them; raises one `UserError` that lists everything wrong with them."""
    parsed = parse(arguments)
    folders = [conf_dir()]
    if parsed.config_dir:
        folders.append(Path(parsed.config_dir))
        if not folders[-1].is_dir():
            raise UserError(f"-cd {parsed.config_dir}: no such folder; sweeps/ of a checkout holds tables of runs")
    problems: list[str] = []
    primaries = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    if parsed.config_name and parsed.config_name.removesuffix(".yaml") not in primaries:
        problems.append(unknown_text("configuration (-cn)", parsed.config_name, primaries))
    overrides: list[Override] = []
    for text in parsed.overrides:
        try:
            overrides += OverridesParser.create().parse_overrides([text])
        except HydraException:
            problems.append(f"cannot read the argument {text!r}: give name=value, as in method=aoft or recipe.lr=1e-3")
    # without a method on the command line the primary configuration decides, and any method's option may be meant
    asked = [str(v) for o in overrides if o.key_or_group == "method" for v in _values(o)]
    known = [presets.read(name, folders)[0] for name in asked if name in presets.choices(folders)]
    default = ["aoft"] if not parsed.config_name else methods.names()
    for override in overrides:
        problems += _problems(override, folders, known or default)
    if problems:
        raise UserError(problems_of(problems))
    return parsed


def parse(arguments: list[str]) -> argparse.Namespace:
    """Hydra's own reading of the arguments; `UserError` for a flag it does not know, instead of its usage text."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; flags such as -m and -cn come first, then name=value; see aoft-bench run --help")

    parser.error = refuse  # type: ignore[method-assign]
    parsed = parser.parse_args(arguments)
    given = {"--run": parsed.run, "-m": parsed.multirun, "--cfg": parsed.cfg, "--info": parsed.info}
    if len(asked := [flag for flag, value in given.items() if value]) > 1:
        refuse(f"got {' and '.join(asked)}, of which one can be given")
    return parsed


def groups(folders: list[Path]) -> dict[str, list[str]]:
    """Names of configuration groups and of the choices of each."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for group in sorted(p for p in folder.iterdir() if p.is_dir()):
            choices = [str(p.relative_to(group).with_suffix("")) for p in sorted(group.rglob("*.yaml"))]
            found.setdefault(group.name, []).extend(choices)
    return found


def _problems(override: Override, folders: list[Path], method_names: list[str]) -> list[str]:
    key = override.key_or_group
    if key == "hydra/launcher":
        allowed = launching.names(folders)
        wrong = [v for v in _values(override) if str(v) not in allowed]
        return [unknown_text("launcher", value, allowed, "docs/clusters.md tells what each is for") for value in wrong]
    if key.startswith(PASSED_ON):
        return []
    choices = groups(folders)
    if key in choices:
        hint = f"`aoft-bench list {key}s` shows them" if key in ("method", "dataset", "backbone") else ""
        wrong = [v for v in _values(override) if str(v) not in choices[key]]
        return [unknown_text(key, value, choices[key], hint) for value in wrong]
    scalars = {f.name for f in dataclasses.fields(Scalars)}
    section, _, name = key.partition(".")
    if not name:
        if key in SHORTHANDS and SHORTHANDS[key][0] in method_names:
            owner, option = SHORTHANDS[key]
            return [p for v in _values(override) for p in check_value(methods.get(owner), option, v, "method")]
        if key in scalars:
            return [p for v in _values(override) for p in check_value(Scalars, key, v, "")]
        return [unknown_text("name", key, {*choices, *scalars, *_paths()})]
    if section == "method":
        return _method_problems(name, override, method_names)
    if section not in SECTIONS:
        return [unknown_text("section", section, {*SECTIONS, "method"})]
    cls = SECTIONS[section]
    if name not in {f.name for f in dataclasses.fields(cls)}:
        return [unknown_text(f"option of {section}", name, [f.name for f in dataclasses.fields(cls)])]
    return [p for v in _values(override) for p in check_value(cls, name, v, section)]


def _method_problems(name: str, override: Override, method_names: list[str]) -> list[str]:
    if name == "label":
        return []  # any row's name; checked with the whole
    name, _, entry = name.partition(".")
    having = [m for m in method_names if name in {f.name for f in dataclasses.fields(methods.get(m))}]
    if not having:
        options = sorted({f.name for m in method_names for f in dataclasses.fields(methods.get(m))})
        who = f"method {method_names[0]}" if len(method_names) == 1 else "the methods"
        if not options:
            return [f"unknown option of {who} {name!r}: it has no options"]
        return [unknown_text(f"option of {who}", name, options)]
    if entry:
        return []  # of a dictionary; checked with the whole
    return [p for v in _values(override) for p in check_value(methods.get(having[0]), name, v, "method")]


def _values(override: Override) -> list[Any]:
    """The value of an override, or all of them where it is a sweep; interpolations are left to Hydra."""
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    plain = [_plain(v) for v in values]
    return [v for v in plain if not (isinstance(v, str) and "${" in v)]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    text = getattr(value, "text", value)  # a quoted string
    return text


def _paths() -> set[str]:
    return {f"{section}.{f.name}" for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
