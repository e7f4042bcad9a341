"""What MkDocs calls while it builds the site (mkdocs.yml, `make docs`): pages that are generated, links, and checks.

docs/ has the pages that are written by hand. Those of methods, tasks and examples, the changelog and the page of
results are added here. A build fails if a public name has no docstring or no entry in docs/api.md, and if a page would
load something from another host; MkDocs itself looks for dead links and for pages that the navigation lacks.
"""

import importlib.resources
import io
import re
from pathlib import Path
from typing import Any

import griffe
from fontTools import subset
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from aoft_bench.report.page import write_report
from tools.docs import methods, notebooks, tasks, text

ROOT = Path(__file__).resolve().parents[2]
FONT, REPORT = "assets/STIXTwoMath.woff", "assets/report.html"
OURS = ("site.css", "iframe-worker.js")  # files beside this one
# packages whose names are public: those in __all__ must be on the page of the API
PUBLIC = ("aoft_bench", "aoft_bench.methods", "aoft_bench.data")
_LETTERS = ((0x20, 0x7E), (0x391, 0x3C9), (0x1D434, 0x1D467), (0x1D6FC, 0x1D71B))  # Latin and Greek, upright and italic
_SIGNS = "\N{NO-BREAK SPACE}\N{PLANCK CONSTANT}⊗⊤′″−·⋅×→≤≥≠∑√‖…∼∞∈"
_DIRECTIVE = re.compile(r"^::: ([\w.]+)", flags=re.MULTILINE)
_FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//[^\s\">]+|<link\b[^>]*\bhref=\"?(?:https?:)?//[^\s\">]+"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of methods and of examples to the navigation, below what is written there."""
    for section in config.nav or []:
        for name, pages in (("Methods", methods.by_title()), ("How to", notebooks.paths())):
            if name in section:
                section[name] += [{title: path} for title, path in pages.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated: pages, the style, the font of formulas, the page of results, figures."""
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    if missing := undocumented(api):
        raise PluginError("\n".join(missing))
    added: dict[str, str | bytes] = dict([*methods.pages(), *notebooks.pages()])
    added["tasks.md"] = tasks.page()
    added["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    added |= {f"assets/{name}": (Path(__file__).parent / name).read_text(encoding="utf-8") for name in OURS}
    added[FONT] = math_font()
    shipped = ROOT / "results" / "shipped"
    added[REPORT] = write_report(shipped).path.read_bytes()
    for page in sorted((ROOT / "docs").glob("*.md")):
        for name in text.figures(page.read_text(encoding="utf-8")):
            added[f"assets/{name}"] = (shipped / "figures" / name).read_bytes()
    for path, content in added.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Link the pages that a page of docs/ names as `docs/NAME.md`."""
    path = page.file.src_uri
    if path == "methods.md":
        markdown = methods.with_links(markdown)
    return text.linked(markdown) if "/" not in path else markdown


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link the pages that docstrings on the page of the API name."""
    if page.file.src_uri != "api.md":
        return html
    return re.sub(r"\bdocs/([\w-]+)\.md", r'<a href="\1.html">docs/\1.md</a>', html)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a page that loads a script, a font, a style or a picture from another host."""
    for path in Path(config.site_dir).rglob("*.html"):
        if path.name != "report.html" and (found := _FOREIGN.findall(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path} loads {found[0]}; the site has to work without a network")


def undocumented(api: str) -> list[str]:
    """What is wrong with the page of the API: public names that it lacks, and names on it without a docstring."""
    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    package = loader.load("aoft_bench")
    entries = [_final(package[path.removeprefix("aoft_bench.")]) for path in _DIRECTIVE.findall(api)]
    on_page, wrong = {entry.path for entry in entries}, []
    for path in PUBLIC:
        module = package if path == package.path else package[path.removeprefix("aoft_bench.")]
        for name in map(str, module.exports or ()):
            entry = _final(module[name])
            if (entry.is_class or entry.is_function) and entry.path not in on_page:
                wrong.append(f"docs/api.md lacks {path}.{name}, which is public: add `::: {path}.{name}`")
    return wrong + [f"{path} is public and has no docstring" for entry in entries for path in _without_docstring(entry)]


def _final(entry: griffe.Object | griffe.Alias) -> griffe.Object:
    return entry.final_target if isinstance(entry, griffe.Alias) else entry


def _without_docstring(entry: griffe.Object) -> list[str]:
    """Paths of a class or function and of its public members; fields and `__init__` are in the docstring of a class."""
    if entry.name == "__init__" or (entry.is_attribute and "property" not in entry.labels):
        return []
    members = entry.members.values() if entry.is_class else ()
    inside = [path for one in members if one.is_public for path in _without_docstring(_final(one))]
    return inside if entry.has_docstring else [entry.path, *inside]


def math_font() -> bytes:
    """STIX Two Math (SIL Open Font License), which ziamath brings, cut to the letters and signs that formulas use."""
    options = subset.Options(layout_features=["ssty"], drop_tables=["DSIG", "GPOS"])
    source = importlib.resources.files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    with importlib.resources.as_file(source) as path, subset.load_font(str(path), options) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(text=_SIGNS, unicodes=[n for first, last in _LETTERS for n in range(first, last + 1)])
        cutter.subset(font)
        written = io.BytesIO()
        font.flavor = "woff"
        font.save(written)
    return written.getvalue()
