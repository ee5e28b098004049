import base64
import fcntl
import functools
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import time
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.reporting.html import make_page
from ddbench.reporting.html.inline import block, cell
from ddbench.reporting.leaderboard import load
from ddbench.store.run_folder import RunError

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
EVIL = "<script>alert(1)</script>|`x`"


def fill(made):
    """Two datasets with two networks each, images, a curve, names that try to break out."""
    for dataset, accuracies in (("mnist-mini", (0.8, 0.6)), ("kmnist", (0.5, 0.7))):
        where = {"dataset": dataset, "dataset_fingerprint": dataset}
        for row, accuracy in zip(("dm", "random"), accuracies, strict=True):
            ids = made.row(row, [[accuracy, accuracy + 0.01], [accuracy + 0.02] * 2], **where)
            for id in ids:
                made.evaluation(id, [accuracy - 0.3] * 2, architecture="mlp", **where)
            made.images(ids[0], classes=[EVIL] + [str(n) for n in range(9)])
            made.curve(ids[0], {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    evil = made.condensation("gm", status="failed", reason=EVIL)
    made.evaluation(None, [0.97] * 2)
    made.manifest()
    return evil


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, scripts, texts."""

    VOID = {
        "meta",
        "img",
        "br",
        "input",
        "link",
        "hr",
        "use",
        "path",
        "image",
        "rect",
        "circle",
        "polygon",
        "polyline",
    }

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.inside = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.setdefault(self.inside[-1] if self.inside else "", []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(made):
    fill(made)
    return Page(made.report("html").read_text())


def test_nothing_on_the_page_comes_from_elsewhere(page):
    sources = [
        value
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "data", "poster", "action", "xlink:href")
        or (name == "href" and tag != "a")
    ]
    assert sources and all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert not page.all("link") and not page.all("iframe") and len(page.all("script")) == 1
    assert "@import" not in "".join(page.texts["style"])
    policy = next(a["content"] for a in page.all("meta") if "Policy" in a.get("http-equiv", ""))
    assert policy.startswith("default-src 'none'; img-src data:;")
    script = "".join(page.texts["script"])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy  # and no other script runs
    assert len(script.encode()) <= 6 * 1024


def test_the_page_has_all_that_the_markdown_report_has(made):
    fill(made)
    markdown = made.report().read_text()
    page = Page(made.report("html").read_text())
    summaries = re.findall("<summary>(.*?)</summary>", markdown)
    assert summaries == [t for t in page.texts["summary"] if t != "Columns"]
    headings = re.findall("^## (.*)$", markdown, re.MULTILINE)
    assert headings == [text for text in page.texts["h2"] if text != "All results"]
    tables = len(re.findall(r"^\| -", markdown, re.MULTILINE))
    assert len(page.all("table")) == tables + 1
    pictures = len(re.findall(r"!\[|<img ", markdown))
    assert len(page.all("svg")) == pictures and not page.all("img")


def test_each_picture_of_a_set_is_in_the_page_once(made):
    fill(made)
    text = made.report("html").read_text()
    page = Page(text)
    data = [image["href"] for image in page.all("image")]
    assert data and len(data) == len(set(data)) == text.count("data:image/png")
    assert page.all("use")  # the first screen shows what "All sets" shows again


def test_a_link_inside_the_page_leads_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.all("a") if a["href"].startswith("#")]
    links += [a["href"] for a in page.all("use")]
    assert links and {link[1:] for link in links} <= set(ids)


def test_words_of_others_stay_words(made):
    classes = [[EVIL, 100, 100]] + [[str(n), 100, 100] for n in range(9)]
    made.manifest(plan={"condensations": [], "evaluations": [], "skipped": [],
                        "classes": {"f00d": classes}})  # fmt: skip
    ids = made.row(EVIL, [[0.5, 0.6]], id="evil", notes=[EVIL])
    made.images(ids[0], classes=[EVIL] * 10)
    made.condensation("gm", status="failed", reason=EVIL)
    text = made.report("html").read_text()
    page = Page(text)
    assert len(page.all("script")) == 1 and "alert(1)" not in "".join(page.texts["script"])
    assert EVIL in "".join(page.texts["td"])
    assert "\\|" not in "".join(page.texts["td"] + page.texts.get("code", []))


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("plain 3 × 4", "plain 3 × 4"),
        (r"a \| b \<i\>", "a | b &lt;i&gt;"),
        (r"`a\|b`", "<code>a|b</code>"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ('<img src=x onerror="x">', "&lt;img src=x onerror=&quot;x&quot;&gt;"),
        ('<img src="https://a.org/x.png" width="3" alt="an &amp; b">', "an &amp; b"),
        ("![far](https://a.org/x.png)", "far"),
        ("a<br>b", "a<br>b"),
        ("**1**", "<strong>1</strong>"),
    ],
)
def test_cells_are_markdown_of_a_few_tags(markdown, html):
    assert cell(markdown, {}, {}) == html


def test_blocks_of_html_are_shown_as_text():
    assert block("<script>\nalert(1)\n</script>", {}, {}).startswith("<p>&lt;script&gt;")
    assert block("> [!NOTE]\n> Take care.", {}, {}) == (
        '<blockquote class="note"><p>Take care.</p>\n</blockquote>'
    )


def test_a_run_without_results_has_a_page(made):
    page = Page(make_page(load(made.folder), "empty"))
    assert "nothing to rank" in "".join(page.texts["p"]) and not page.all("form")


def test_formats_and_their_files(made, tmp_path):
    fill(made)
    folder, run = str(made.folder.root), CliRunner().invoke
    assert run(main, ["report", folder]).exit_code == 0
    assert {"report.md", "report.html"} <= {path.name for path in made.folder.root.iterdir()}
    done = run(main, ["report", folder, "--to", str(tmp_path / "a" / "quick.html")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a" / "quick.html").read_text()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["quick.html"]
    assert "quick.html" in "".join(Page(text).texts["code"]), "the command that makes it again"
    both = ["--format", "md", "--format", "html", "--to", str(tmp_path / "b" / "quick.md")]
    assert run(main, ["report", folder, *both]).exit_code == 0
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"quick", "quick.md", "quick.html"}
    wrong = run(main, ["report", folder, "--to", str(tmp_path / "quick.pdf")])
    assert wrong.exit_code == 2 and "quick.pdf" in wrong.output
    assert ".md, .html, .csv" in wrong.output


def test_a_page_that_cannot_be_written_is_explained(made, tmp_path):
    with pytest.raises(RunError, match="is no file of the format html; name one"):
        made.report("html", tmp_path / "quick.md")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        made.report("html", tmp_path / "file" / "quick.html")


# -- in a browser ------------------------------------------------------------------------------


class Browser:
    """A headless chromium with one page, spoken to by a pipe (Chrome's DevTools protocol)."""

    def __init__(self, profile):
        theirs, self.out = os.pipe()
        self.into, back = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs, back)]

        def give_ends():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        self.process = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            preexec_fn=give_ends, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (theirs, back, *ends):
            os.close(end)
        self.count, self.rest, self.session, self.events = 0, b"", None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.next_message()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def next_message(self):
        until = time.monotonic() + 60
        while b"\0" not in self.rest:
            assert select.select([self.into], [], [], max(0, until - time.monotonic()))[0], "silent"
            part = os.read(self.into, 1 << 16)
            assert part, "the browser has gone"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, path):
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.next_message())

    def run(self, script):
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seen(self, *methods):
        return [event["params"] for event in self.events if event.get("method") in methods]

    def close(self):
        self.session = None
        try:
            self.ask("Browser.close")
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.out)
            os.close(self.into)


@pytest.fixture
def browser(tmp_path):
    if not CHROMIUM:
        pytest.skip("no chromium here: apt-get install chromium")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


COLUMN = (
    "[...document.querySelectorAll('#all tbody tr')].filter(r => !r.hidden)"
    ".map(r => r.cells[{}].textContent)"
)


@pytest.mark.timeout(180)
def test_in_a_browser_the_page_sorts_filters_and_asks_for_nothing(made, browser):
    fill(made)
    browser.open(made.report("html"))
    column = functools.partial(_column, browser)
    accuracy = column("accuracy %")
    assert len(accuracy) == 8

    click = "[...document.querySelectorAll('#all th')].find(h => h.textContent === '{}').click()"
    browser.run(click.format("accuracy %"))
    numbers = [float(text.split()[0]) for text in column("accuracy %")]
    assert numbers == sorted(numbers, reverse=True) and numbers != sorted(numbers)
    browser.run(click.format("accuracy %"))
    numbers = [float(text.split()[0]) for text in column("accuracy %")]
    assert numbers == sorted(numbers)
    browser.run(click.format("dataset"))
    assert column("dataset") == ["kmnist"] * 4 + ["mnist-mini"] * 4

    _choose(browser, dataset="kmnist", architecture="mlp", method="dm")
    assert column("dataset") == ["kmnist"] and column("method") == ["dm"]
    assert browser.run("document.getElementById('count').value") == "1 of 8 results"
    sections = "[...document.querySelectorAll('section[data-dataset]')].filter(s => !s.hidden)"
    assert browser.run(f"{sections}.map(s => s.dataset.dataset)") == ["kmnist"]
    browser.run("document.querySelector('#choose [type=reset]').click()")
    browser.run("new Promise(done => setTimeout(done, 50))")
    _choose(browser)
    assert len(column("method")) == 8

    browser.run("document.querySelectorAll('#columns input')[0].click()")
    assert browser.run("[...document.querySelectorAll('#all tr')].every(r => r.cells[0].hidden)")

    asked = [one["request"]["url"] for one in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [
        (made.folder.root / "report.html").as_uri()
    ]
    assert not browser.seen("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


@pytest.mark.timeout(180)
def test_in_a_browser_a_set_is_found_by_each_method_that_made_it(made, browser):
    for row in ("herding", "random", "dm"):
        same = "one" if row != "dm" else "other"
        id = made.condensation(row, set_sha256=same, costs={"condense_s": 1.0})
        made.evaluation(id, [0.5, 0.6], set_sha256=same)
    browser.open(made.report("html"))
    rows = "[...document.querySelector('table').tBodies[0].rows].filter(r => !r.hidden).length"
    shown = {}
    for method in ("", "herding", "random", "dm"):
        _choose(browser, method=method)
        shown[method] = browser.run(rows)
    assert shown == {"": 2, "herding": 1, "random": 1, "dm": 1}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_the_page_never_scrolls_sideways(made, browser, width):
    fill(made)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    browser.open(made.report("html"))
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    root = "document.documentElement"
    inner, whole = browser.run(f"[innerWidth, {root}.scrollWidth]")
    assert inner == width and whole <= width


@pytest.mark.timeout(180)
def test_in_a_browser_words_of_others_run_nothing(made, browser):
    made.row(f"{EVIL}<img src=x onerror=alert(1)>", [[0.5, 0.6]], id="evil")
    assert len(load(made.folder).boards) == 1
    browser.open(made.report("html"))
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert not browser.seen("Page.javascriptDialogOpening", "Log.entryAdded")


def _column(browser, heading):
    """Return the texts of a column of the table of all results, of the rows that are shown."""
    names = browser.run("[...document.querySelectorAll('#all th')].map(h => h.textContent)")
    return browser.run(COLUMN.format(names.index(heading)))


def _choose(browser, **values):
    for name, value in values.items():
        browser.run(f"document.querySelector('select[name={name}]').value = '{value}'")
    browser.run("document.getElementById('choose').dispatchEvent(new Event('change'))")
