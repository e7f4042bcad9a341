"""The sources of the documentation site. `make docs` builds it strictly, which .ci/run does."""

import re
from pathlib import Path

import pytest
import yaml

from aoft_bench import methods as registry
from aoft_bench.data import TASKS
from tools.docs import formulas, methods, notebooks, tasks, text

ROOT = Path(__file__).resolve().parent.parent
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
GENERATED = {"tasks.md", "changelog.md"}


def pages_of(entry):
    for value in entry.values() if isinstance(entry, dict) else [entry]:
        yield from [value] if isinstance(value, str) else (page for one in value for page in pages_of(one))


def test_the_navigation_has_each_page_once():
    named = [page for entry in yaml.safe_load(CONFIG)["nav"] for page in pages_of(entry)]
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert sorted(named) == sorted(written | GENERATED)


def test_nothing_is_loaded_from_another_host():
    config = yaml.safe_load(CONFIG)
    assert config["theme"]["font"] is False
    assert not config.keys() & {"extra_javascript", "repo_url"}  # the latter asks the host for a number of stars
    files = [*config["extra_css"], *config["extra"]["polyfills"]]
    sources = [(ROOT / "tools/docs" / Path(name).name).read_text(encoding="utf-8") for name in files]
    assert not any("//" in re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE) for source in sources)


def test_each_method_has_a_page():
    pages = dict(methods.pages())
    assert set(pages) == {f"methods/{name}.md" for name in registry.names()}
    for name in registry.names():
        page = pages[f"methods/{name}.md"]
        count = f"{methods._count(methods._choices()[name])}, without the head"
        assert all(part in page for part in (f"# {methods.titles()[name]}\n", f"`method={name}`", count, "## Source"))
        source = page[page.index("## Source") :].partition("\n\n##")[0]
        number = re.search(r"arXiv (\d{4}\.\d{4,5})", source)
        assert number is None or f"eprint = {{{number[1]}}}" in page
        assert ("title = {{" in page) == (number is not None or name == "cara")


def test_page_of_lora():
    page = methods.page("lora")
    assert '<div class="formulas"><table class="lines"><tr><td><math' in page and "<msup><mi>B</mi>" in page
    assert "[arXiv 2106.09685](https://arxiv.org/abs/2106.09685)" in page
    assert "`method=lora_matched`" in page and "| VTAB-1k | LoRA |" in page
    assert "author = {Hu and others}" in page
    assert "title = {{LoRA: Low-Rank Adaptation of Large Language Models}}" in page
    assert r"title = {{Scaling \& Shifting Your Features" in methods.page("ssf")


def test_examples_are_pages_with_what_they_printed():
    pages = dict(notebooks.pages())
    assert set(pages) == {"examples/adapt.md", "examples/results.md"} == set(notebooks.paths().values())
    page = pages["examples/adapt.md"]
    assert page.startswith("# Adapt your own timm model\n\n`examples/adapt.ipynb`")
    assert '```python\nhandle = aoft_bench.attach(model, "aoft", rank=8)' in page
    assert "```text\n{'trained': 10944" in page and "\nepoch 5: loss " in page


def test_settings_by_task_are_those_of_the_files():
    page = methods.page("fact_tt")
    rank = yaml.safe_load((ROOT / "conf/hparams/fact_tt/eurosat.yaml").read_text(encoding="utf-8"))["method"]["rank"]
    assert re.search(rf"^\| `eurosat` \| {rank} \|", page, flags=re.MULTILINE)
    assert "* `recipe.batch_size=64`" in page


def test_page_of_tasks_has_each_of_them():
    page = tasks.page()
    assert all(f"`{name}`" in page for name in TASKS)
    assert "| `caltech101` | natural | 102 | 800 | 200 | 6,084 |" in page


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("x (W + s A B^T) + b", r"x ( W + s A B ^{\top} ) + b"),
        ("AO(q_down) diag(lambda)", r"\text{AO} ( q _{\text{down}} ) \, \text{diag} ( \lambda )"),
        ("h_l = h_{l-1} + x_l A_l", r"h _{l} = h _{l - 1} + x _{l} A _{l}"),
        ("sum_{n != a} P_km", r"\sum _{n \ne a} P _{k m}"),
    ],
)
def test_formulas(plain, latex):
    assert formulas.latex(plain) == latex


def test_shapes_stand_beside_their_formula():
    rows = formulas._rows(
        "    x (W + A B^T),   s = 1          x (..., in),\n                    A (in, r)\n    h + x        for l < M"
    )
    assert rows == [("x (W + A B^T),  s = 1", "x (..., in), A (in, r)"), ("h + x", "for l < M")]


def test_pages_that_a_page_names_are_links():
    page = text.linked("See docs/aoft.md (and `docs/wandb.md`).\n\n    docs/aoft.md in code\n")
    assert page == "See [docs/aoft.md](aoft.md) (and [docs/wandb.md](wandb.md)).\n\n    docs/aoft.md in code\n"
