"""Hostile command lines, and hostile YAML files given by -cd."""

import contextlib
import dataclasses
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from answers import REFUSED, Answer, Attack, call, files_left, judge

BASE = ["dataset=digits", "backbone=vit_nano", "trainer=cpu", "logger=none"]
METHODS = ("aoft", "lora", "adapter", "ssf", "vpt_deep", "fact_tt", "bi_lora", "hta", "peft", "convpass", "partial")

# fmt: off
VALUES = [
    "", " ", "null", "~", "''", '""', "-0", "0", "-1", "00012", "0x10", "1_000", "1e-320", "1e400", "-1e400", ".5",
    "5.", "nan", ".nan", "-.inf", "inf", "1e308", "2147483648", "18446744073709551616", "9" * 400, "0.1.2", "1,5",
    "1;2", "true", "True", "yes", "off", "[]", "{}", "[1,2", "{a:1", "{a:{b:c}}", "[[[]]]", "[1,null]", "{1:2}",
    "(1)", "${seed}", "${nope}", "${oc.env:HOME}", "${oc.decode:1}", "${", "$", "$(id)", "`id`", "???", "${..}",
    "${now:%H}", "range(3)", "range(0,0)", "choice()", "glob([*])", "interval(1,2)", "shuffle(1)", "tag(a,1)",
    "int(x)", "float(1e-3)", "bool(maybe)", "str(1)", "extend_list(1)", "sort(3,1)", "cast(1)", "f(1)", "a" * 300,
    "../../etc/passwd", "/dev/null", "/dev/zero", "/proc/self/mem", "~root", "~nosuchuser", "\x00", "a\x00b",
    "\udcff", "\ud800", "日本語", "é", "\u202e", "\u200b1", "a\nb", "a\tb", "\r", "\x1b[31m", "'", '"', "\\", "\\'",
    "a=b", "=", "==", "@", "a@b", "+", "#1", "1 # x", "!!int 3", "*", "?", "%s", "{0}", "<b>", "&a", "|", ">",
    "--help", "-1e-3", "+1", "١٢", "½", "1e", "e1", "NULL", "None", "lr",
]
# fmt: on

# fmt: off
YAMLS = [
    "", "3", "text", "[]", "- a", "- a: b", "null", "{", "a: b: c", "\t", "a:\n\tb", "%YAML 9.9\n---\na: b",
    "--- a\n--- b", "&a [*a]", "a: &a {b: *a}", "<<: 3", "{a: 1, a: 2}", "defaults: 3", "defaults: config",
    "defaults: [_self_, _self_]", "defaults: [nosuch]", "defaults: [config: nosuch]", "defaults: [{method: nosuch}]",
    "defaults: [{override method: x}]", "defaults: [t]", "defaults: [config, {override /method: null}]",
    "defaults: [config]\nmethod: lora", "!!python/name:os", "defaults: [config]\nmethod: []",
    "defaults: [config]\nrecipe: 3", "defaults: [config]\nrecipe: {lr: {}}", "1: 2",
    "defaults: [config]\nseed: [0, 1]", "defaults: [config]\nseed: 1e99", "defaults: [config]\nhydra: 3",
    "a: !!binary x", "defaults: [config]\nhydra: {sweeper: {params: 3}}",
    "defaults: [config]\nhydra: {sweeper: {params: {seed: [0]}}}",
    "defaults: [config]\nhydra: {sweeper: {params: {seed: }}}", "defaults: [config]\nhydra: {mode: SIDEWAYS}",
    "defaults: [config]\nhydra: {sweeper: {params: {nosuch: '1,2'}}}", "defaults: [config]\nhydra: {sweeper: null}",
    "defaults: [config]\nhydra: {callbacks: {x: {_target_: os.system}}}", "defaults: [config]\nseed: ${seed}",
    "defaults: [config]\nrecipe: {lr: '${oc.env:HOME}'}", "defaults: [config]\nresults: {root: ''}", "\ufeffseed: x",
    "defaults: [config]\nextra: 1", "defaults: [config]\nrecipe: {extra: 1}", "defaults: [config]\ndata: {root: 3}",
    "# @package nosuch\nseed: 1", "# @package _global_\nx: 1", "defaults: [config]\nmethod: {name: lora, rank: -1}",
    "? [a]\n: b", "defaults: [{optional config: x}]", "defaults: [null]", "defaults: [[]]", "{}", "seed: 2024-01-01",
]
# fmt: on
NOT_TEXT = [
    b"\xff\xfe",
    b"\x00",
    b"seed: \xe9\n",
    b"PK\x03\x04",
    b"\x89PNG",
    b"a" * 2_000_000,
    b"[" * 20_000,
    b"- " * 20_000,
]


def options(rng: random.Random, base: Path) -> Iterator[Attack]:
    """One option of the schema or of a method, with one value from the list."""
    from aoft_bench.config.schema import SECTIONS, Scalars
    from aoft_bench.methods import get

    names = [("", f"{s}.{f.name}") for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)]
    names += [("", f.name) for f in dataclasses.fields(Scalars) if f.name != "dry_run"]
    names += [(m, f"method.{f.name}") for m in METHODS for f in dataclasses.fields(get(m))]
    names += [("", name) for name in ("method", "dataset", "backbone", "protocol", "trainer", "hparams", "experiment")]
    names += [("", name) for name in ("method.label", "hydra.sweep.dir", "hydra.run.dir", "hydra/launcher", "nosuch")]
    for number in itertools.count():
        (method, name), value = rng.choice(names), rng.choice(VALUES)
        words = [*BASE, *([f"method={method}"] if method else []), f"{name}={value}"]
        flags = rng.choice([[], [], [], [], ["-m"]])
        yield Attack(repr([*flags, f"{name}={value}"]), _Option(base / str(number), flags, words, name, value))


@dataclasses.dataclass(frozen=True)
class _Option:
    folder: Path
    flags: list[str]
    words: list[str]
    name: str
    value: str

    def __call__(self) -> Answer:
        ended = call([*self.flags, *self.words, "dry_run=true"], self.folder)
        several = 8 if self.flags or "," in self.value else 1  # of a sweep each cell has its line
        answer = judge(ended, self._wrong, lines=several)
        if answer.verdict == REFUSED and not self.flags and (left := files_left(self.folder)):
            return Answer("unclear", left)
        return answer

    def _wrong(self) -> str:
        """Whether the configuration holds another value than the one that was typed."""
        if self.flags or self.name.partition(".")[0] not in (
            "data",
            "recipe",
            "trainer",
            "logger",
            "results",
            "seed",
            "method",
        ):
            return ""
        ended = call([*self.words, "--cfg", "job"], self.folder)
        got: Any = yaml.safe_load(ended.out)
        for part in self.name.split("."):
            got = got[part] if isinstance(got, dict) else got
        return "" if _alike(self.value, got) else f"accepted as {got!r}"


def _alike(given: str, got: Any) -> bool:
    """Whether a value of the configuration is what was typed: as a text, as YAML, or as a number."""
    text = given.strip()
    quoted = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    if str(got).lower() in (given.lower(), text.lower(), quoted.lower()):
        return True
    with contextlib.suppress(yaml.YAMLError):
        if got == yaml.safe_load(quoted):
            return True
    for kind in (float, lambda word: float(int(word, 0))):
        with contextlib.suppress(TypeError, ValueError):
            return float(got) == kind(text.replace("_", ""))
    return text.startswith(("float(", "str(", "sort(", "choice(")) and bool(str(got))


def files(rng: random.Random, base: Path) -> Iterator[Attack]:
    """A YAML file of a folder given by -cd, for a run or for status."""
    texts = [*(text.encode() for text in YAMLS), *NOT_TEXT]
    for number, (text, command) in enumerate(
        itertools.cycle(itertools.product(_shuffled(rng, texts), ("run", "status")))
    ):
        folder, rest = base / str(number), [*BASE, "dry_run=true"]
        conf = folder.with_name(f"{number}.conf")
        conf.mkdir()
        (conf / "t.yaml").write_bytes(text)
        words = [command, "-cd", str(conf), "-cn", "t", *rest]
        yield Attack(f"{command} -cn {text[:90]!r}", lambda w=words, f=folder: judge(call(w, f), lambda: ""))


def _shuffled(rng: random.Random, things: list[Any]) -> list[Any]:
    return rng.sample(things, len(things))
