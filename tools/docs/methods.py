"""The page of each method, made from the registry, conf/ and results/published."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from aoft_bench import methods
from aoft_bench.cli.list import MethodChoice, method_choices
from aoft_bench.config.folders import conf_dir
from aoft_bench.data.tasks import TASKS
from aoft_bench.methods import Method
from aoft_bench.results import published
from aoft_bench.results.settings import BENCHMARKS
from aoft_bench.results.titles import BUILT_IN
from tools.docs import text

ROOT = Path(__file__).resolve().parents[2]
_SECTIONS = {"Parameters:": "Parameters", "Source:": "Source"}
_DIFFERS = re.compile(r"Differs from [^:]*:")
# what tables of the field print for a method, where that is neither its name nor its title
_PRINTED = {
    "aoft": ("loraaoft",),
    "aoft_adapter": ("adapteraoft",),
    "bitfit": ("bias",),
    "diff_fit": ("difffit",),
    "full": ("full", "fulltuning"),
    "linear": ("linear", "linearprobe", "frozen"),
    "norm": ("ln",),
    "res_tuning": ("restuning",),
    "lora_mul_vpt_add": ("loramulvptadd",),
}


@functools.cache
def titles() -> dict[str, str]:
    """Titles of the registered methods, by name."""
    return {name: BUILT_IN.method(name) for name in methods.names()}


@functools.cache
def _choices() -> dict[str, MethodChoice]:
    return {choice.name: choice for choice in method_choices()}


def pages() -> Iterator[tuple[str, str]]:
    """(path, Markdown) of every page, ordered by title."""
    for path in by_title().values():
        yield path, page(Path(path).stem)


def page(name: str) -> str:
    """The page of one method as Markdown."""
    choice = _choices()[name]
    docstring = inspect.getdoc(inspect.getmodule(type(choice.method))) or ""
    lead, *body = text.paragraphs(docstring)
    parts = [f"# {titles()[name]}", _markdown(_sentence(lead.partition(": ")[2] or lead)), _facts(choice)]
    source = next((number for number, paragraph in enumerate(body) if paragraph.startswith("Source:")), len(body))
    parts += [_section(paragraph, number == source + 1) for number, paragraph in enumerate(body)]
    parts += [_options(choice.method), _settings(name), _use(name), _hparams(name), _published(name)]
    parts += [_bibtex(name, docstring)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(paragraph: str) -> str:
    return text.markdown(paragraph, titles(), "../")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _section(paragraph: str, after_source: bool) -> str:
    """A paragraph of the docstring, with a heading where its first word is one, or it would stand below the source."""
    for start, heading in _SECTIONS.items():
        if paragraph.startswith(start):
            return f"## {heading}\n\n{_markdown(_sentence(paragraph.removeprefix(start).strip()))}"
    heading = "What differs" if _DIFFERS.match(paragraph) else "Remarks" if after_source else ""
    return (f"## {heading}\n\n" if heading else "") + _markdown(paragraph)


def _facts(choice: MethodChoice) -> str:
    method = choice.method
    yes = {True: "yes", False: "no"}
    rows = {
        "On the command line": f"`method={choice.name}`",
        "Trained on ViT-B/16": f"{_count(choice)}, without the head",
        "Counts in papers": text.markdown(method.published, titles(), "../"),
        "Merges into the backbone": yes[method.mergeable],
        "Starts at the pre-trained function": yes[method.starts_at_backbone],
    }
    head, *rest = ([said, value] for said, value in rows.items())
    return _table(head, rest)


def _count(choice: MethodChoice) -> str:
    return "as many as the images decide" if choice.count is None else f"{choice.count:,}"


def _options(method: Method) -> str:
    documented = [
        cls.__doc__ for cls in reversed(type(method).__mro__) if "Options" in (vars(cls).get("__doc__") or "")
    ]
    fields = dataclasses.fields(method)  # type: ignore[arg-type]
    rows = [[f"`{field.name}`", f"`{_plain(getattr(method, field.name))}`"] for field in fields]
    said = [_markdown(paragraph) for doc in documented for paragraph in text.paragraphs(inspect.cleandoc(doc or ""))]
    return "\n\n".join(["## Options", *said, _table(["`method.` …", "default"], rows)])


def _settings(name: str) -> str:
    """Files of conf/method that are this method with other options."""
    rows = [
        [f"`method={choice.name}`", BUILT_IN.method(choice.name), choice.setting.partition(" with ")[2], _count(choice)]
        for choice in _choices().values()
        if choice.setting.startswith(f"{name} with ")
    ]
    head = ["", "in tables", "what it sets", "trained on ViT-B/16"]
    return "## Rows of their own\n\n" + _table(head, rows) if rows else ""


def _use(name: str) -> str:
    batches = ", batches=batches" if methods.get(name).prepare is not Method.prepare else ""
    return f"""## Use

    python -m aoft_bench method={name} dataset=cifar100

```python
import aoft_bench

model = aoft_bench.load_backbone("vit_nano", num_classes=10)
handle = aoft_bench.attach(model, "{name}"{batches})
handle.trainable_parameters(head=False)
```"""


def _hparams(name: str) -> str:
    """Settings of conf/hparams: what is the same for all tasks in a line, the rest as a table."""
    settings_of_it = [one.name for one in _choices().values() if one.setting.startswith(f"{name} with ")]
    folders = {f"hparams/{choice}": conf_dir() / "hparams" / choice for choice in (name, *settings_of_it)}
    parts = []
    for shown, folder in folders.items():
        files = {path.stem: path for path in folder.glob("*.yaml")}
        if not files:
            continue
        settings = {task: _flat(yaml.safe_load(path.read_text("utf-8"))) for task, path in files.items()}
        order = [*(task for task in TASKS if task in settings), *sorted(settings.keys() - TASKS.keys())]
        keys = list(dict.fromkeys(key for values in settings.values() for key in values))
        same = [key for key in keys if len({values.get(key) for values in settings.values()}) == 1]
        different = [key for key in keys if key not in same]
        parts.append(f"`conf/{shown}/`. {_markdown(_header(files[order[0]]))}")
        if same:
            lines = "\n".join(f"* `{key}={settings[order[0]][key]}`" for key in same)
            parts.append(f"The same for {'every task' if len(files) > 1 else f'`{order[0]}`'}:\n\n{lines}")
        if different:
            rows = [[f"`{task}`", *(settings[task].get(key, "") for key in different)] for task in order]
            parts.append(_table(["task", *(f"`{key}`" for key in different)], rows))
    return "\n\n".join(["## Settings by task", *parts]) if parts else ""


def _flat(tree: dict[str, Any]) -> dict[str, str]:
    return {f"{group}.{key}": _plain(value) for group, some in tree.items() for key, value in (some or {}).items()}


def _header(path: Path) -> str:
    """What the comment of a file says where its numbers are from; the task in it stands for all of them."""
    lines = [line[1:].strip() for line in path.read_text("utf-8").splitlines() if line.startswith("# ")]
    said = " ".join(line for line in lines if not line.startswith(("@package", "python -m")))
    return f"The file of `{path.stem}` says: {said.replace(', used by', '.').rstrip('.')}."


def _published(name: str) -> str:
    wanted = {_key(name), _key(titles()[name]), *_PRINTED.get(name, ())}
    rows = []
    for row in _published_rows():
        if _key(row.method) in wanted:
            groups = [
                row.groups.get(group, row.computed_group(group)) for group in ("natural", "specialized", "structured")
            ]
            numbers = [row.params_m, row.mean, *groups]
            suite = BENCHMARKS.get(row.benchmark, row.benchmark)
            source = text.markdown(row.source + (f"; {row.note}" if row.note else ""), titles(), "../")
            rows.append([suite, row.method.replace("*", r"\*"), row.backbone, *map(_number, numbers), source])
    if not rows:
        return ""
    head = ["suite", "printed as", "backbone", "M", "mean", "nat.", "spec.", "struct.", "source"]
    said = (
        "Top-1 in %, and parameters in millions, as their sources print them; group means are computed from the tasks "
    )
    said += "where they are not printed. results/published has every task. Papers differ in images, weights and in the "
    said += "epoch that they score: [reproduction](../reproduction.md)."
    return f"## Published numbers\n\n{said}\n\n{_table(head, rows, right=range(3, 8))}"


@functools.cache
def _published_rows() -> list[published.PublishedRow]:
    return published.load(ROOT / "results").rows


def _key(printed: str) -> str:
    """The method that a printed name says, without its rank, source and marks."""
    return re.sub(r"[^a-z0-9+]", "", re.split(r" [\[(]| r[<=]| b=", printed)[0].lower()).replace("+aoft", "aoft")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _bibtex(name: str, docstring: str) -> str:
    """An entry with what the docstring says: authors as named there, where it appeared, the number at arXiv; and the
    title of papers.yaml."""
    source = next((p for p in text.paragraphs(docstring) if p.startswith("Source:")), "")
    source = " ".join(source.removeprefix("Source:").split())
    found = re.search(r"arXiv (\d{4}\.\d{4,5})", source)
    number = found[1] if found else ""
    title = _papers().get(number or name)
    if not title:
        return ""
    venue = re.search(r"\b(ICCV|CVPR|NeurIPS|ICML|ICLR|AAAI|ECCV|IJCV)(?: (\d{4}))?", source)
    named = re.split(r", (?:arXiv|ICCV|CVPR|NeurIPS|ICML|ICLR|AAAI)", source)[0]
    authors = named.replace(" et al.", " and others").replace(", ", " and ")
    at_arxiv = {"eprint": number, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{number}"}
    fields = {
        "title": "{" + re.sub(r"([%&])", r"\\\1", title) + "}",  # with its capitals
        "author": authors,
        "year": venue[2] if venue and venue[2] else f"20{number[:2]}",
        **({"note": venue[0]} if venue else {}),
        **(at_arxiv if number else {}),
    }
    lines = "\n".join(f"  {key} = {{{value}}}," for key, value in fields.items())
    said = "Authors are those that the source above names; the paper has all of them."
    return f"## BibTeX\n\n{said}\n\n```bibtex\n@misc{{{name},\n{lines}\n}}\n```"


@functools.cache
def _papers() -> dict[str, str]:
    """Titles by number at arXiv, or by method."""
    found: dict[str, str] = yaml.safe_load((Path(__file__).parent / "papers.yaml").read_text("utf-8"))
    return found


def _plain(value: Any) -> str:
    return str(value).replace("'", "") if isinstance(value, list) else str(value)


def _table(head: list[str], rows: list[list[str]], right: range = range(0)) -> str:
    rule = ["---:" if number in right else "---" for number in range(len(head))]
    lines = [head, rule, *([str(cell).replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_links(table: str) -> str:
    """docs/methods.md with a link from each name in its table to the page of the method."""

    def link(found: re.Match[str]) -> str:
        choice = _choices().get(found[1])
        if choice is None:
            return found[0]
        name = found[1] if found[1] in titles() else choice.setting.partition(" ")[0]
        return f"| [`{found[1]}`](methods/{name}.md) |"

    return re.sub(r"^\| `(\w+)` \|", link, table, flags=re.MULTILINE)


def by_title() -> Mapping[str, str]:
    """Paths of the pages, by title, in the order of the navigation."""
    return {title: f"methods/{name}.md" for name, title in sorted(titles().items(), key=lambda item: item[1].lower())}
