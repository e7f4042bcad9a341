"""The page in a real browser: Debian's chromium, driven by playwright, without a connection."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_records import make, several, write

from aoft_bench.report.page import render, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
EVIL = """</script></style><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'"&lt;<!--"""
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `several()`, with a published row, a figure, and a record that is left out."""
    root = tmp_path_factory.mktemp("report")
    write(root, several())
    (root / "records" / "half.json").write_text("{")
    (root / "published").mkdir()
    (root / "published" / "vtab.csv").write_text(
        "method,params_m,cifar100,svhn,mean_kind,reported_mean,source,backbone\n"
        "Paper A,0.29,70.0,80.5,mean19,79.0,A et al.,ViT-B/16\n"
    )
    (root / "published" / "factors.csv").write_text("method,source,checkpoint,images,normalization\n")
    (root / "figures").mkdir()
    Image.new("RGB", (40, 30), "white").save(root / "figures" / "gain.png")
    return write_report(root).path


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Open]:
    """Opens a page in a context of its own; at the end: nothing was fetched, nothing was logged, nothing failed."""
    contexts, said = [], []

    def open_page(path: Path = report, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if _leaves(request.url, path) else None)
        page.goto(path.as_uri())
        page.locator("html[data-ready=true]").wait_for(timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def _leaves(url: str, path: Path) -> bool:
    """Whether a request is more than the page itself, its pictures and the library that it holds."""
    return url.split("#")[0] != path.as_uri() and not url.startswith(("data:", "blob:"))


def column(page: Any, table: str, name: str) -> list[str]:
    """The texts of a column of a table, as they stand."""
    shown = page.get_by_role("table", name=table)
    heads = [head.strip() for head in shown.locator("thead tr").last.locator("th").all_inner_texts()]
    place = next(i for i, head in enumerate(heads) if head.split("\n")[0] == name)
    rows = shown.locator("tbody tr")
    texts = [rows.nth(i).locator("th, td").nth(place).inner_text().split("\n")[0] for i in range(rows.count())]
    return [re.sub(r" [\d,]+$", "", text) for text in texts]  # without the numbers of the rules that a row breaks


BIG = "VTAB-1k: ViT-B/16 (IN-21k), protocol clean, 224 px, 100 epochs"
SMALL = "Tasks of VTAB-1k: ViT-B/16 (IN-21k), protocol clean, 112 px, 100 epochs"


def test_a_column_sorts_by_mouse_and_by_keyboard_with_missing_last(visit: Open) -> None:
    page = visit()
    head = page.get_by_role("table", name=BIG).get_by_role("button", name="SVHN: Activate to sort", exact=False)
    assert column(page, BIG, "method") == ["Linear", "LoRA+AOFT†", "LoRA"]  # by parameters
    head.click()
    assert column(page, BIG, "SVHN") == ["80.0", "30.0", "missing"]
    assert column(page, BIG, "method") == ["LoRA+AOFT†", "Linear", "LoRA"]
    page.get_by_role("table", name=BIG).get_by_role("button", name="SVHN").first.focus()
    page.keyboard.press("Enter")
    assert column(page, BIG, "SVHN") == ["30.0", "80.0", "missing"]
    assert page.get_by_role("table", name=BIG).locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert column(page, SMALL, "method") == ["LoRA"]  # sorting one setting leaves the others


def test_words_filter_rows_of_every_setting(visit: Open) -> None:
    page = visit()
    status = page.locator("#status")
    assert status.inner_text() == "4 of 4 rows in 2 of 2 tables"
    find = page.get_by_role("searchbox", name="Find rows")
    find.fill("aoft rank=8")
    assert status.inner_text() == "1 of 4 rows in 1 of 2 tables"
    assert column(page, BIG, "method") == ["LoRA+AOFT†"]
    assert not page.get_by_role("heading", name=SMALL).is_visible()
    find.fill("no such method")
    assert status.inner_text() == "0 of 4 rows in 0 of 2 tables"
    page.get_by_role("button", name="Clear the filter").click()
    assert status.inner_text() == "4 of 4 rows in 2 of 2 tables"
    assert find.input_value() == ""


def test_chips_filter_by_mouse_and_by_keyboard(visit: Open) -> None:
    page = visit()
    status = page.locator("#status")
    small = page.get_by_role("group", name="image size").get_by_role("button", name="112 px 1 row")
    small.click()
    assert small.get_attribute("aria-pressed") == "true"
    assert status.inner_text() == "1 of 4 rows in 1 of 2 tables"
    page.get_by_role("group", name="image size").get_by_role("button", name="224 px").click()  # either of one facet
    assert status.inner_text() == "4 of 4 rows in 2 of 2 tables"
    official = page.get_by_role("group", name="data").get_by_role("button", name="official 3 rows", exact=True)
    official.focus()
    page.keyboard.press("Space")  # and all facets
    assert status.inner_text() == "3 of 4 rows in 1 of 2 tables"
    page.get_by_role("searchbox").fill("linear")
    assert status.inner_text() == "1 of 4 rows in 1 of 2 tables"
    page.get_by_role("button", name="Clear", exact=True).click()
    assert status.inner_text() == "4 of 4 rows in 2 of 2 tables"
    assert page.locator(".chip[aria-pressed=true]").count() == 0


def test_a_cell_tells_its_seeds_and_configuration(visit: Open) -> None:
    page = visit()
    cell = page.get_by_role("table", name=BIG).get_by_role("button", name="LoRA, CIFAR-100: 61.0 ± 1.4, best")
    hint = page.get_by_role("tooltip")
    assert not hint.is_visible()
    cell.hover()
    text = hint.inner_text()
    assert "cifar100, seed 0: 60.00 % (6,000 of 10,000)" in text and "seed 1: 62.00 %" in text
    assert "rank=8" in text and "lr=0.001" in text
    page.keyboard.press("Escape")
    assert not hint.is_visible()
    page.mouse.move(0, 0)
    page.get_by_role("button", name="LoRA+AOFT†, SVHN: 80.0, best").focus()
    page.keyboard.press("Shift+Tab")  # the keyboard came here: the hint is for it too
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-describedby") == "hint"
    assert focused.get_attribute("aria-label") == "LoRA+AOFT†, CIFAR-100: 61.0, best"
    assert "61.04 %" in hint.inner_text()


def test_a_record_opens_by_mouse(visit: Open) -> None:
    page = visit()
    page.get_by_role("button", name="LoRA, CIFAR-100: 61.0 ± 1.4, best").click()
    dialog = page.get_by_role("dialog", name="LoRA · CIFAR-100")
    assert dialog.is_visible()
    first = dialog.inner_text()
    command = "python -m aoft_bench method=lora dataset=cifar100 seed=0"
    weights = "vit_base_patch16_224.orig_in21k"
    costs = ("60.5 s", "2,000,000,000 (2000 MB)", "1,500,000 (2 MB)")
    for told in (command, "294,912", *costs, weights, "2.9.0", "0123456789ab", "weight_decay"):
        assert told in first, told
    dialog.get_by_role("button", name="cifar100, seed 1: 62.00 %").click()
    assert "seed=1" in dialog.inner_text() and "seed=0" not in dialog.locator(".command").first.inner_text()
    assert dialog.get_by_role("img", name="Training loss: 2.00 after the first, 0.500 after the last").is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_a_record_opens_and_closes_by_keyboard(visit: Open) -> None:
    page = visit()
    cell = page.get_by_role("button", name="Linear, CIFAR-100: 40.0")
    cell.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Linear · CIFAR-100")
    assert dialog.is_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.dataset.name") == "Linear · CIFAR-100"  # back where it came from


def test_the_command_is_copied(visit: Open) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Linear, SVHN: 30.0").click()
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "python -m aoft_bench method=linear dataset=svhn seed=0"


def test_without_a_clipboard_the_command_is_selected(visit: Open) -> None:
    page = visit()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
    page.get_by_role("button", name="Linear, SVHN: 30.0").click()
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("selected: copy it with your keys").wait_for()
    assert page.evaluate("getSelection().toString()") == "python -m aoft_bench method=linear dataset=svhn seed=0"


def test_a_figure_opens_large(visit: Open) -> None:
    page = visit()
    page.get_by_role("button", name="Enlarge gain").click()
    assert page.get_by_role("dialog", name="gain").get_by_role("img", name="gain").is_visible()


def ground(page: Any) -> list[int]:
    """Red, green, blue of the page's ground as it is painted."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return list(picture.getpixel((2, 400)))


def test_both_themes_and_the_switch(visit: Open) -> None:
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert min(ground(light)) > 230 and max(ground(dark)) < 40
    light.get_by_role("radio", name="dark").check(force=True)
    assert max(ground(light)) < 40
    light.reload()
    light.locator("html[data-ready=true]").wait_for()
    assert light.get_by_role("radio", name="dark").is_checked() and max(ground(light)) < 40
    dark.get_by_role("radio", name="auto").focus()
    dark.keyboard.press("ArrowRight")
    assert min(ground(dark)) > 230


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_the_page_does_not_scroll_sideways(visit: Open, width: int) -> None:
    page = visit(width=width, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#chips").evaluate("element => { element.open = true; }")
    for published in page.locator("details.published summary").all():
        published.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Linear, CIFAR-100: 40.0").tap()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.evaluate("element => element.scrollWidth - element.clientWidth") <= 0


@pytest.mark.parametrize(("theme", "width"), [("light", 375), ("dark", 1280)])
def test_axe_finds_nothing(visit: Open, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page = visit(color_scheme=theme, width=width)
    page.locator("#chips").evaluate("element => { element.open = true; }")
    page.locator("details.published summary").first.click()
    page.get_by_role("group", name="image size").get_by_role("button", name="224 px").click()
    rules = {"rules": {"target-size": {"enabled": True}}}  # of WCAG 2.2 AA, not among axe's defaults
    results = [axe.Axe().run(page, options=rules)]
    page.get_by_role("button", name="LoRA, CIFAR-100: 61.0 ± 1.4, best").click()
    page.locator("dialog summary").click()
    results.append(axe.Axe().run(page, context="dialog", options=rules))
    found = [
        (violation["id"], [node["html"][:120] for node in violation["nodes"][:3]])
        for result in results
        for violation in result.response["violations"]
    ]
    assert found == []


def test_focus_is_seen(visit: Open) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the tables"
    for _ in range(40):
        page.keyboard.press("Tab")
        outline = page.locator(":focus").evaluate(
            "e => getComputedStyle(e.matches('.theme input') ? e.nextElementSibling : e).outlineStyle"
        )
        assert outline == "solid", page.evaluate("document.activeElement.outerHTML.slice(0, 200)")


def test_nothing_moves_for_those_who_ask_for_it(visit: Open) -> None:
    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert visit().evaluate(moving) > 0
    still = visit(reduced_motion="reduce")
    assert still.evaluate(moving) == 0
    assert still.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_text_of_a_record_stays_text(visit: Open, tmp_path: Path) -> None:
    evil = make(EVIL, command=EVIL, data__official=False, data__official_note=EVIL, config__method__note=EVIL)
    path = tmp_path / "evil.html"
    path.write_text(render([evil, make("linear", correct=1)], [(EVIL, EVIL)], [], []), encoding="utf-8")
    page = visit(path)
    assert EVIL in page.get_by_role("rowheader").all_inner_texts()
    cell = page.get_by_role("button", name=f"{EVIL}, CIFAR-100*: 70.0")
    cell.hover()
    assert EVIL in page.get_by_role("tooltip").inner_text()
    cell.click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator(".command pre").first.inner_text() == "the record has no command"
    assert EVIL in dialog.get_by_role("heading").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_without_javascript_the_tables_are_there(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_text("61.0").first.is_visible()
    assert page.get_by_text("need JavaScript").is_visible()
    assert not page.get_by_role("searchbox").is_visible()
    context.close()
