"""The report's page in a real browser: it renders, works, says nothing on the console and asks for nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report_files import ArmOfRun, write_run
from tiny_split import TinySplit, rectangle

import jetson_benchmark
from savbench.data.masks import PackedMask, save_object_masks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chromium-headless-shell")
ADDRESS = "http://report.test/"
HOSTILE = "<script>window.stolen = 1</script><img src=http://elsewhere.test/ onerror='window.stolen = 2'>"
PATIENCE_MS = 180_000
"""Of a machine that has other things to do; nothing here is timed."""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.slow


@dataclass
class Opened:
    """A page, with what it said and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    # a sandbox needs another user than root
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=arguments, timeout=PATIENCE_MS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with everything in it: pictures, power, stages, streaming, failures, untrained weights, hostile names."""
    for module in ("jinja2", "matplotlib", "itables"):
        pytest.importorskip(module, reason=f"the page needs {module}")
    folder = tmp_path_factory.mktemp("browser")
    split = TinySplit(folder / "sav_tiny")
    videos = ["v0", "v1", "v2", "v3", "v4", "v5", HOSTILE.replace("/", "")]
    for video in videos[:6]:
        split.write_video(video, 13, {"000": [rectangle(4, 2 + 4 * step, 8, 8) for step in range(4)]})
    (split.root / "sav_tiny.txt").write_text("\n".join(videos[:6]) + "\n")
    streamed = {"camera_fps": 24, "streaming_JandF": 0.6}
    arms = [
        ArmOfRun(latency_ms=80.0, dtype="float32", row=streamed, failing={"v1/000": ("error", f"went wrong: {HOSTILE}")}),
        ArmOfRun(row={**streamed, "arm_id": "tiny"}),
        ArmOfRun("edgetam", 0.6, 30.0, row={"weights": "random", "nvpmodel": f"15W {HOSTILE}"}),
        ArmOfRun("flow", 0.5, 5.0),
    ]
    run = write_run(folder / "run", arms, videos=videos, objects=1, has_stages=True, split_dir=split.root)
    for video in videos[:6]:
        masks = {f"{frame:05d}": PackedMask(rectangle(4, 16, 8, 8)) for frame in (0, 4, 8, 12)}
        save_object_masks(run / "masks", "tiny", video, "000", masks)  # type: ignore[arg-type]
    out = folder / "report.html"
    arguments = ["report", str(run), "-o", str(out), "--resamples", "1000", "--split_dir", str(split.root)]
    assert jetson_benchmark.main([*arguments, "--title", f"Report {HOSTILE}"]) == 0
    return out.read_text(encoding="utf-8")


def open_page(browser: Browser, html: str, **options: Any) -> tuple[BrowserContext, Opened]:
    """The page as served from nowhere: any other request is refused and noted."""
    context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light", **options})
    context.set_default_timeout(PATIENCE_MS)
    opened = Opened(context.new_page())

    def answer(route: Any) -> None:
        if route.request.url == ADDRESS:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        else:
            opened.asked.append(route.request.url)
            route.abort()

    opened.page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
    opened.page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
    opened.page.on("request", lambda request: opened.asked.append(request.url) if not request.url.startswith((ADDRESS, "data:")) else None)
    context.route("**/*", answer)
    opened.page.goto(ADDRESS)
    opened.page.evaluate("() => window.reportReady")
    return context, opened


@pytest.fixture(scope="module")
def desktop(browser: Browser, html: str) -> Iterator[Opened]:
    context, opened = open_page(browser, html)
    yield opened
    context.close()


def column(page: Page, name: str) -> list[str]:
    """Cells of a column of the table of rows, as shown."""
    names = page.locator("#rows thead th").all_inner_texts()
    place = [text.strip() for text in names].index(name)
    return page.locator(f"#rows tbody tr td:nth-child({place + 1})").all_inner_texts()


def sort_by(page: Page, name: str, direction: str) -> None:
    """Press the button in a column's head with the keyboard until the column says that it is sorted so."""
    head = page.locator("#rows thead th", has_text=re.compile(rf"^\s*{name}\s*$"))
    button = head.get_by_role("button")
    button.focus()
    for state in ("ascending", "descending"):
        page.keyboard.press("Enter")
        page.locator(f"#rows thead th[aria-sort={state}]", has_text=name).wait_for()
        if state == direction:
            return


def filter_by(page: Page, words: str, rows: str) -> None:
    page.get_by_label("Filter rows").fill(words)
    page.locator("#all-rows .dt-info", has_text=f"of {rows} rows").wait_for()


def test_nothing_is_said_and_nothing_asked_for(desktop: Opened) -> None:
    assert desktop.said == []
    assert desktop.asked == []
    # what the policy forbids is refused by the browser, whatever the network
    refused = desktop.page.evaluate("() => fetch('http://elsewhere.test/').then(() => 'sent', (error) => error.name)")
    assert refused == "TypeError"
    assert desktop.asked == []
    desktop.said.clear()


def test_text_from_files_stays_text(desktop: Opened) -> None:
    assert desktop.page.evaluate("() => window.stolen") is None
    assert desktop.page.locator("img:not([src^='data:image/jpeg'])").count() == 0
    assert f"15W {HOSTILE} for edgetam_mask" in desktop.page.inner_text("#answer .warnings")
    assert HOSTILE in desktop.page.inner_text("#circumstances")
    assert f"Report {HOSTILE}" == desktop.page.inner_text("h1") == desktop.page.title()


def test_every_chart_is_drawn_with_data(desktop: Opened) -> None:
    charts = desktop.page.evaluate(
        """() => [...document.querySelectorAll(".plot")].map((plot) => ({
            key: plot.dataset.figure,
            shown: [...plot.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width > 0).map((svg) => svg.classList[0]),
            marks: plot.querySelectorAll(".wide .tip").length,
            text: plot.querySelectorAll(".wide text").length,
        }))"""
    )
    assert len(charts) >= 10
    for chart in charts:
        assert chart["shown"] == ["wide"], chart
        assert chart["marks"] > 0, chart
        assert chart["text"] > 1, chart


def test_a_point_tells_its_figures_to_the_pointer(desktop: Opened) -> None:
    point = desktop.page.locator("[data-figure=accuracy-speed] .wide .tip[data-tip^='sam2_tiny_mask float32'] use").last
    # scrolling, which may be smooth, hides the text: let it end
    desktop.page.emulate_media(reduced_motion="reduce")
    point.scroll_into_view_if_needed()
    desktop.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    point.hover()
    tip = desktop.page.locator("#tip")
    tip.wait_for(state="visible")
    said = tip.inner_text()
    assert "sam2_tiny_mask float32" in said
    assert "FPS" in said
    desktop.page.locator("h1").hover()
    tip.wait_for(state="hidden")


def test_pictures_are_shown_and_described(desktop: Opened) -> None:
    pictures = desktop.page.locator("#objects img")
    assert pictures.count() == 5
    sizes = desktop.page.evaluate("() => [...document.querySelectorAll('#objects img')].map((img) => [img.naturalWidth, img.alt])")
    assert all(width > 100 and "false positives orange" in alt for width, alt in sizes)


def test_rows_are_sorted_by_keyboard(desktop: Opened) -> None:
    page = desktop.page
    sort_by(page, "JandF", "descending")
    shown = [float(text) for text in column(page, "JandF") if text]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) > 10
    assert shown[0] > shown[-1]


def test_numbers_are_sorted_as_numbers(desktop: Opened) -> None:
    page = desktop.page
    sort_by(page, "latency_p50_ms", "ascending")
    shown = [float(text) for text in column(page, "latency_p50_ms") if text]
    # 4.9 before 29.4 before 78.4
    assert shown == sorted(shown)
    assert sorted(map(str, shown)) != list(map(str, shown))


def test_rows_are_filtered_by_words(desktop: Opened) -> None:
    page = desktop.page
    filter_by(page, "edgetam v3", "1")
    assert column(page, "video") == ["v3"]
    assert column(page, "arm") == ["edgetam_mask bfloat16*"]
    filter_by(page, "went wrong", "1")
    assert column(page, "status") == ["error"]
    assert column(page, "error") == [f"went wrong: {HOSTILE}"]
    filter_by(page, "", "28")
    assert len(column(page, "video")) == 25


def test_columns_can_be_chosen(desktop: Opened) -> None:
    page = desktop.page
    names = page.locator("#rows thead th").all_inner_texts()
    assert "setup_ms" not in [name.strip() for name in names]
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("menuitem", name="torch_version").or_(
        page.locator(".dt-button-collection button", has_text="torch_version")
    ).first.click()
    page.keyboard.press("Escape")
    assert "torch_version" in [name.strip() for name in page.locator("#rows thead th").all_inner_texts()]


def test_a_figure_has_its_table(desktop: Opened) -> None:
    figure = desktop.page.locator("#figure-latency")
    table = figure.locator("table")
    assert not table.is_visible()
    figure.locator("summary").focus()
    desktop.page.keyboard.press("Enter")
    table.wait_for(state="visible")
    assert "sam2_tiny_mask float32" in table.inner_text()


def test_the_first_stop_of_the_keyboard_leads_to_the_content(browser: Browser, html: str) -> None:
    context, opened = open_page(browser, html)
    opened.page.keyboard.press("Tab")
    focused = opened.page.evaluate("() => [document.activeElement.textContent, document.activeElement.getBoundingClientRect().left >= 0]")
    assert focused == ["Skip to the content", True]
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("() => document.activeElement.id") == "content"
    context.close()


def brightness(colour: str) -> float:
    """0 to 255, of `rgb(r, g, b)`."""
    return float(np.mean([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]))


def colours(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        """() => ({
            paper: getComputedStyle(document.body).backgroundColor,
            ink: getComputedStyle(document.body).color,
            tick: getComputedStyle(document.querySelector(".plot .wide text")).fill,
            cell: getComputedStyle(document.querySelector("#rows tbody td")).color,
        })"""
    )
    return found


def test_dark_and_printed(browser: Browser, html: str) -> None:
    context, opened = open_page(browser, html, color_scheme="dark")
    dark = colours(opened.page)
    assert brightness(dark["paper"]) < 60
    assert all(brightness(dark[name]) > 180 for name in ("ink", "tick", "cell"))
    opened.page.emulate_media(media="print")
    printed = colours(opened.page)
    assert brightness(printed["paper"]) > 240
    assert all(brightness(printed[name]) < 80 for name in ("ink", "tick", "cell"))
    assert not opened.page.locator("header nav").is_visible()
    # two charts abreast, and what paper has no use for left out
    shown = opened.page.evaluate("() => [...document.querySelectorAll('.plot .wide')].map((svg) => svg.getBoundingClientRect().width)")
    assert set(shown) == {0}
    assert not opened.page.locator("#all-rows").is_visible()
    assert opened.said == []
    context.close()


def test_numbers_stay_in_one_piece_on_paper(browser: Browser, html: str) -> None:
    context, opened = open_page(browser, html, viewport={"width": 700, "height": 1000})
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= 700
    broken = opened.page.evaluate(
        """() => {
            const found = [];
            const range = document.createRange();
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode;
                if (!node.parentElement.closest("table, h2, h3, p, li, dd") || node.parentElement.closest("script, style, svg")) continue;
                for (const match of node.textContent.matchAll(/[+-]?\\d[\\d.]*/g)) {
                    range.setStart(node, match.index);
                    range.setEnd(node, match.index + match[0].length);
                    const lines = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
                    if (lines.size > 1) found.push(match[0]);
                }
            }
            return found;
        }"""
    )
    assert broken == []
    context.close()


def test_the_paper_is_short(browser: Browser, html: str) -> None:
    """Eleven charts, four arms, pictures and circumstances."""
    context, opened = open_page(browser, html)
    pages = len(re.findall(rb"/Type\s*/Page\b", opened.page.pdf(prefer_css_page_size=True)))
    assert 3 <= pages <= 7
    context.close()


def test_a_phone_shows_all_of_it(browser: Browser, html: str) -> None:
    context, opened = open_page(browser, html, viewport=PHONE, is_mobile=True, has_touch=True)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    widths = opened.page.evaluate("() => [...document.querySelectorAll('.plot .narrow')].map((svg) => svg.getBoundingClientRect().width)")
    assert len(widths) >= 10
    assert all(300 < width <= PHONE["width"] for width in widths)
    # no text of a chart lies on another one or on a marker, and none is too small to be read
    overlaps = opened.page.evaluate(
        """() => [...document.querySelectorAll(".plot .narrow")].flatMap((svg) => {
            const box = (element) => ({ name: element.textContent, ...element.getBoundingClientRect().toJSON() });
            const texts = [...svg.querySelectorAll("text")].map(box);
            const isScatter = svg.parentNode.dataset.figure.startsWith("accuracy");
            const marks = isScatter ? [...svg.querySelectorAll(".tip use")].map(box) : [];
            const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
            return texts.flatMap((text, index) => [...texts.slice(index + 1), ...marks].filter((other) => meet(text, other))
                .map((other) => [svg.parentNode.dataset.figure, text.name, other.name]));
        })"""
    )
    assert overlaps == []
    heights = opened.page.evaluate(
        "() => [...document.querySelectorAll('.plot .narrow text')].map((text) => text.getBoundingClientRect().height)"
    )
    assert min(heights) > 8
    assert opened.said == []
    context.close()
