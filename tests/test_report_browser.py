"""The HTML report in Chromium: what is drawn is what the files hold, by mouse, by keyboard, on a phone, on paper."""

import base64
import io
import json
import shutil
import time

import numpy as np
import pytest

pytest.importorskip("selenium", reason="drives Chromium")
pytest.importorskip("jinja2", reason="the extra report")
pytest.importorskip("plotly", reason="the extra report")

import report_samples as samples
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from quprop.report import collect, write

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of sockets that selenium leaves to the collector
]
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1100,900 --force-device-scale-factor=1"
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """(report of everything, report of 10,000 steps, losses of those)."""
    folder = tmp_path_factory.mktemp("results")
    paths = samples.everything(folder)
    write(collect(paths), folder / "all.html")
    loss = samples.long_run(folder / "long")
    write(collect([folder / "long"]), folder / "long.html")
    return folder / "all.html", folder / "long.html", loss


def started(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in [*OPTIONS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser):
    """Opens a file and waits until its figures are drawn; leaves the window as it was."""

    def opened(file, ready="yes", opening=True):
        browser.get("about:blank")
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(file.as_uri())
        wait(browser, ready)
        if opening:
            browser.execute_script("document.querySelectorAll('details.result').forEach((d) => { d.open = true; })")
            time.sleep(0.5)
        return browser

    yield opened
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_script("try { localStorage.clear(); sessionStorage.clear(); } catch {}")


def wait(browser, ready="yes"):
    end = time.monotonic() + 60
    while browser.execute_script("return document.documentElement.dataset.ready") != ready:
        assert time.monotonic() < end, browser.execute_script("return window.qupropReport")
        time.sleep(0.05)


def drawn(browser):
    """title -> Plotly's own data, as it is on the screen."""
    return browser.execute_script("""
        return Object.fromEntries([...document.querySelectorAll("figure.chart")].map((f) =>
          [f.querySelector("figcaption").textContent, f.querySelector(".plot").data]))""")


def screenshot(browser):
    from matplotlib.image import imread

    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return imread(io.BytesIO(base64.b64decode(shot["data"])))[..., :3]


def test_it_opens_without_a_complaint_and_without_the_network(reports, show):
    browser = show(reports[0])
    state = browser.execute_script("return [qupropReport.drawn, qupropReport.figures.length, qupropReport.problems]")
    assert state[0] == state[1] >= 15 and state[2] == []
    assert browser.get_log("browser") == []
    requests = [e["message"] for e in browser.get_log("performance") if "Network.requestWillBeSent" in e["message"]]
    assert requests
    urls = [json.loads(m)["message"]["params"].get("request", {}).get("url", "") for m in requests]
    assert all(url.startswith(("file:", "data:", "blob:")) or not url for url in urls), urls


def test_what_is_drawn_is_what_the_files_hold(reports, show):
    """Read back from Plotly in the page, and looked up in the run's files."""
    browser = show(reports[0])
    compared = 0
    for title, traces in drawn(browser).items():
        for trace in traces:
            source = trace["meta"]["source"]
            if "metrics.jsonl#/*" in source and not source.startswith("computed"):
                assert trace["y"] == samples.looked_up(source), title
                if trace["meta"]["x_source"].startswith("/"):
                    assert trace["x"] == samples.looked_up(trace["meta"]["x_source"]), title
                    compared += 1
    assert compared >= 10


def test_the_picture_shows_the_data(reports, show):
    """Pixels: the curve's colour is where first, last, lowest and highest loss of 10,000 belong."""
    _, file, loss = reports
    browser = show(file)
    box, axes, colour = browser.execute_script("""
        const plot = document.querySelector(".plot"), l = plot._fullLayout;
        plot.scrollIntoView({behavior: "instant"});
        const b = plot.querySelector(".nsewdrag").getBoundingClientRect();
        return [[b.left, b.top, b.width, b.height], [l.xaxis.range, l.yaxis.range],
          getComputedStyle(document.documentElement).getPropertyValue("--c" + plot.data[0].meta.colour).trim()]""")
    time.sleep(0.3)
    picture = screenshot(browser)
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    curve = np.abs(picture - wanted).max(axis=2) < 0.25
    (left, top, width, height), ((x0, x1), (y0, y1)) = box, axes
    for step in (1, int(np.argmax(loss)) + 1, int(np.argmin(loss)) + 1, len(loss)):
        x = left + (step - x0) / (x1 - x0) * width
        y = top + (y1 - loss[step - 1]) / (y1 - y0) * height
        near = curve[max(0, round(y) - 4) : round(y) + 5, max(0, round(x) - 4) : round(x) + 5]
        assert near.any(), (step, x, y)
    # And not everywhere: halfway up, beside the spike, the paper is empty.
    x = left + (len(loss) // 2 - x0) / (x1 - x0) * width
    y = top + (y1 - 12.0) / (y1 - y0) * height
    assert not curve[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5].any()


def test_ten_thousand_steps_open_fast(reports, tmp_path):
    """In a browser that has compiled nothing yet: two seconds of the page's own thread, which other programs on the
    machine do not lengthen, until all figures are drawn."""
    browser = started(tmp_path)
    try:
        browser.get("about:blank")
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.get(reports[1].as_uri())
        wait(browser)
        found = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        busy = next(m["value"] for m in found if m["name"] == "TaskDuration")
        clock = browser.execute_script("return qupropReport.milliseconds")
    finally:
        browser.quit()
    print(f"busy {busy:.2f} s, all figures drawn after {clock:.0f} ms")
    assert 0 < busy < 2.0


def test_light_and_dark_follow_the_system_and_the_button(reports, show):
    browser = show(reports[1])

    def colours():
        return browser.execute_script("""
            const tick = document.querySelector(".plot .xtick text");
            return [getComputedStyle(document.body).backgroundColor, getComputedStyle(tick).fill]""")

    light = colours()
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    time.sleep(0.5)
    dark = colours()
    assert light[0] == "rgb(255, 255, 255)" and dark[0] == "rgb(20, 23, 27)" and light[1] != dark[1]
    button = browser.find_element("id", "theme")
    button.click()
    assert button.text == "Theme: light" and colours() == light
    button.click()
    assert button.text == "Theme: dark" and colours() == dark


def test_a_picture_has_the_papers_colour_in_the_dark_and_in_the_light(reports, show):
    """And its ink the contrary one: nothing is a white box on a dark page."""
    browser = show(reports[0])
    for scheme, paper in (("dark", (20, 23, 27)), ("light", (255, 255, 255))):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        time.sleep(0.5)
        left, top, width, height = browser.execute_script("""
            const image = document.querySelector(".picture img");
            image.scrollIntoView({behavior: "instant", block: "center"});
            const b = image.getBoundingClientRect();
            return [b.left, b.top, b.width, b.height].map(Math.round)""")
        time.sleep(0.3)
        seen = screenshot(browser)[top : top + height, left : left + width] * 255
        assert np.abs(seen[2, 2] - paper).max() <= 8, (scheme, seen[2, 2])
        brightest, darkest = seen.mean(axis=2).max(), seen.mean(axis=2).min()
        assert brightest - darkest > 180


def test_folded_results_open_where_a_link_leads_and_draw_their_figures(reports, show, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    for k in range(10):
        samples.long_run(folder / f"run{k}", 5)
    write(collect([folder]), tmp_path / "many.html")
    browser = show(tmp_path / "many.html", opening=False)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 6000
    drawn_first = browser.execute_script("return qupropReport.drawn")
    browser.execute_script("document.querySelectorAll('nav a')[4].click()")
    time.sleep(0.5)
    opened = browser.execute_script("return [...document.querySelectorAll('details.result')].map((d) => d.open)")
    assert opened == [k == 4 for k in range(10)]
    assert browser.execute_script("return qupropReport.drawn") > drawn_first
    assert browser.execute_script("""
        const plots = [...document.querySelectorAll("details.result[open] .plot")];
        return plots.length > 0 && plots.every((p) => p.querySelector(".main-svg").clientWidth > 300)""")


@pytest.mark.parametrize("width", [320, 390, 800])
def test_it_fits_a_phone(reports, show, browser, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    show(reports[0])
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    widest = browser.execute_script("""
        return Math.max(...[...document.querySelectorAll(".plot .main-svg")].map((s) =>
          s.getBoundingClientRect().right))""")
    assert widest <= width
    small = browser.execute_script("""
        return [...document.querySelectorAll("button, summary, .legend label")].filter((e) => {
          const b = e.getBoundingClientRect(); return b.width && b.height < 24; }).map((e) => e.textContent)""")
    assert small == []


def test_the_keyboard_is_enough(reports, show):
    browser = show(reports[1])
    press = lambda *keys: ActionChains(browser).send_keys(*keys).perform()  # noqa: E731
    active = lambda what: browser.execute_script(f"return document.activeElement.{what}")  # noqa: E731
    press(Keys.TAB)
    assert active("textContent") == "Skip to the results"
    assert browser.execute_script("return document.activeElement.getBoundingClientRect().left") >= 0
    press(Keys.ENTER)
    assert active("id") == "main"
    reached = []
    for _ in range(14):
        press(Keys.TAB)
        reached.append(active("tagName") + ":" + (active("dataset.log") or active("dataset.curve") or ""))
        outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
        if reached[-1] == "INPUT:0" and "INPUT:1" not in reached:
            press(Keys.SPACE)
            hidden = browser.execute_script("return document.querySelector('.plot').data[0].visible")
            assert hidden is False
            press(Keys.SPACE)
        if reached[-1] == "BUTTON:y":
            press(Keys.ENTER)
            assert browser.execute_script("return document.querySelector('.plot').layout.yaxis.type") == "log"
            assert active("getAttribute('aria-pressed')") == "true"
        if reached[-1] == "SUMMARY:":
            press(Keys.ENTER)
            assert active("parentElement.open") is True
            break
    assert {"DIV:", "INPUT:0", "INPUT:1", "BUTTON:x", "BUTTON:y", "SUMMARY:"} <= set(reached)


def test_numbers_show_their_sources(reports, show):
    browser = show(reports[1])
    content = "return getComputedStyle(document.querySelector('data'), '::after').content"
    assert browser.execute_script(content) == "none"
    browser.find_element("id", "sources").click()
    assert ".jsonl#/" in browser.execute_script(content)


def test_it_prints(reports, show):
    browser = show(reports[1])
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    time.sleep(0.5)
    seen = browser.execute_script("""
        return [getComputedStyle(document.body).backgroundColor, document.querySelector(".plot .main-svg").clientWidth,
          getComputedStyle(document.querySelector(".plot .xtick text")).fill,
          document.querySelectorAll("details.short[open]").length,
          getComputedStyle(document.querySelector(".tools")).display]""")
    assert seen[0] == "rgb(255, 255, 255)" and seen[1] == 680 and seen[2] == "rgb(0, 0, 0)" and seen[3] > 0
    assert seen[4] == "none"
    pdf = base64.b64decode(
        browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
    )
    assert pdf.startswith(b"%PDF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    time.sleep(0.5)
    opened, width = browser.execute_script("""
        return [document.querySelectorAll("details[open]").length,
          document.querySelector(".plot .main-svg").clientWidth]""")
    assert opened == 0 and width > 700


def test_a_page_that_reloads_itself_stays_where_it_is(reports, show, tmp_path):
    folder = reports[1].parent / "long"
    write(collect([folder]), tmp_path / "going.html", reload_seconds=2.0)
    browser = show(tmp_path / "going.html")
    browser.execute_script(
        "window.old = 1; document.querySelector('details').open = true;window.scrollTo({top: 700, behavior: 'instant'})"
    )
    end = time.monotonic() + 30
    while browser.execute_script("return window.old ?? null") and time.monotonic() < end:
        time.sleep(0.1)
    wait(browser)
    time.sleep(0.2)
    assert browser.execute_script("return [window.old ?? null, document.querySelector('details').open]") == [None, True]
    assert abs(browser.execute_script("return scrollY") - 700) < 60
    browser.execute_script("document.getElementById('pause').click(); window.old = 2")
    time.sleep(3.5)
    assert browser.execute_script("return window.old") == 2


def test_an_old_browser_gets_tables_and_a_sentence(reports, show, browser):
    script = {"source": "delete window.DecompressionStream"}
    made = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        show(reports[1], ready="without figures")
        said = browser.find_element("id", "failed")
        assert said.is_displayed() and "tables" in said.text
        assert not browser.find_element("class name", "plot").is_displayed()
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)
