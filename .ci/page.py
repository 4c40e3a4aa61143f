"""Opens the pages of `cargo xtask report` in headless Chromium and uses them as a reader would.

Arguments: the directory with good.html, order.html, durable.html, routing.html, watch.html and hashes.html; screenshots go there, too.
Nothing may be logged as an error, nothing may be asked of the network, and no page may be wider than its window.
"""

import json
import os
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
BYTES_MAX = 5_000_000
# What a run of several thousand operations may take to be drawn once, in seconds.
DRAWING_MAX_S = 0.1
OPERATIONS_MANY = 3000


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def has(text, part):
    """Whether a shown text has a part; a browser shows several spaces as one."""
    return " ".join(part.split()) in " ".join(text.split())


def open_page(browser, file, viewport, scheme, touch=False):
    context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=touch, device_scale_factor=2 if touch else 1)
    page = context.new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.problems.append(f"asks for {request.url}") if not request.url.startswith(("file:", "data:")) else None)
    page.goto(f"file://{file}")
    settle(page)
    return page


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def close(page, what):
    wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(wide <= 0, f"{what}: {wide} pixels wider than the window")
    check(page.problems == [], f"{what}: {page.problems}")
    page.context.close()


def view(page):
    settle(page)
    first, last = page.evaluate("() => document.documentElement.dataset.view").split("..")
    return int(first), int(last)


def span(page):
    first, last = view(page)
    return last - first


def data(page):
    return json.loads(page.locator("#data").text_content())


def ink(page, canvas):
    """How many pixels of a canvas are drawn on."""
    return page.evaluate(
        """(id) => { const it = document.getElementById(id);
        const bytes = it.getContext("2d").getImageData(0, 0, it.width, it.height).data;
        let drawn = 0; for (let at = 3; at < bytes.length; at += 4) if (bytes[at] > 0) drawn++; return drawn; }""",
        canvas,
    )


def position(page, place):
    """Where the middle of an operation's bar is, in its canvas; the view must hold it."""
    return page.evaluate(
        """(place) => { const it = run.operations[place];
        return { x: (xOf(it.invoke_ns) + xOf(it.return_ns)) / 2, y: 4 + rowOf.get(it.client) * ROW_HEIGHT + 7 }; }""",
        place,
    )


def uses(page, what):
    """Zoom by button, wheel and key; pan; hover; tap; filter."""
    page.locator("#zoom-all").click()
    whole = span(page)
    page.locator("#zoom-in").click()
    check(abs(span(page) * 2 - whole) < 5, f"{what}: the button does not zoom in")
    page.locator("#zoom-out").click()
    check(span(page) == whole, f"{what}: the button does not zoom out")
    clients = page.locator("#clients")
    clients.scroll_into_view_if_needed()
    box = clients.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20)
    page.mouse.wheel(0, -200)
    zoomed = span(page)
    check(zoomed < whole, f"{what}: the wheel does not zoom")
    before = view(page)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=4)
    page.mouse.up()
    check(view(page)[0] > before[0] and abs(span(page) - zoomed) < 5, f"{what}: dragging does not move")
    clients.focus()
    page.keyboard.press("+")
    check(span(page) < zoomed, f"{what}: the key + does not zoom")
    page.keyboard.press("Home")
    check(span(page) == whole, f"{what}: Home does not show the whole run")
    page.keyboard.press("ArrowDown")
    settle(page)
    check(page.locator("#details").inner_text().startswith("#"), f"{what}: the key ↓ chooses no operation")

    operations = data(page)["operations"]
    place = next(at for at, it in enumerate(operations) if it["return_ns"] is not None and at > len(operations) // 3)
    page.evaluate("(place) => { const it = run.operations[place]; look(it.invoke_ns - 2e7, it.return_ns + 2e7); }", place)
    settle(page)
    at = position(page, place)
    clients.hover(position=at)
    tip = page.locator("#tip")
    check(tip.is_visible() and has(tip.inner_text(), operations[place]["asked"]), f"{what}: no tip over operation {place}: {tip.inner_text()}")
    clients.click(position=at)
    check(has(page.locator("#details").inner_text(), operations[place]["told"]), f"{what}: no details of operation {place}")
    page.locator("#nodes").hover(position={"x": at["x"], "y": 70})
    check("node 1 at" in tip.inner_text(), f"{what}: no tip over a node: {tip.inner_text()}")

    page.locator("#zoom-all").click()
    page.mouse.move(2, 2)
    key = next(it["keys"][0] for it in operations if it["keys"] and ".." not in it["keys"][0])
    page.locator("#filter").fill(key)
    settle(page)
    shown = int(page.locator("#count").inner_text().split()[0])
    check(0 < shown < len(operations), f"{what}: filter {key} shows {shown} of {len(operations)}")
    page.locator("#filter").fill("")
    settle(page)
    check(int(page.locator("#count").inner_text().split()[0]) == len(operations), f"{what}: the filter does not end")


def looks(browser, directory, name, expected):
    """The page's parts are there, on a desktop, in the dark, and on a phone."""
    file = directory / f"{name}.html"
    check(file.stat().st_size < BYTES_MAX, f"{name}: {file.stat().st_size} bytes")
    for viewport, scheme, touch in [(DESKTOP, "light", False), (DESKTOP, "dark", False), (PHONE, "light", True)]:
        what = f"{name}, {viewport['width']} pixels, {scheme}"
        page = open_page(browser, file, viewport, scheme, touch)
        text = page.locator("body").inner_text()
        for word in ["[object", "undefined", "NaN", "null"]:
            check(word not in text, f"{what}: says {word!r}")
        for words in expected:
            check(words in text, f"{what}: does not say {words!r}")
        check(ink(page, "nodes") > 1000 and ink(page, "clients") > 200, f"{what}: the lanes are empty")
        if viewport is DESKTOP and scheme == "light":
            uses(page, what)
        page.screenshot(path=directory / f"{name}-{viewport['width']}-{scheme}.png", full_page=True)
        close(page, what)


def pinches(browser, directory):
    """Two fingers zoom."""
    page = open_page(browser, directory / "good.html", PHONE, "light", True)
    page.locator("#zoom-all").click()
    whole = span(page)
    page.locator("#clients").scroll_into_view_if_needed()
    box = page.locator("#clients").bounding_box()
    session = page.context.new_cdp_session(page)
    middle, y = box["x"] + box["width"] / 2, box["y"] + 30
    for kind, apart in [("touchStart", 30), ("touchMove", 60), ("touchMove", 90)]:
        points = [{"x": middle - apart, "y": y, "id": 0}, {"x": middle + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    check(span(page) < whole * 0.8, "two fingers do not zoom")
    close(page, "pinch")


def large(browser, directory):
    """A run of several thousand operations, made by repeating those of a real one, stays small and quick."""
    text = (directory / "good.html").read_text()
    begin = text.index('id="data">') + len('id="data">')
    end = text.index("</script", begin)
    run = json.loads(text[begin:end])
    some, length = run["operations"], run["end_ns"]
    run["operations"] = [
        dict(it, invoke_ns=it["invoke_ns"] + round_ * length, return_ns=it["return_ns"] and it["return_ns"] + round_ * length)
        for round_ in range(OPERATIONS_MANY // len(some) + 1)
        for it in some
    ]
    run["end_ns"] = length * (OPERATIONS_MANY // len(some) + 1)
    check(len(run["operations"]) >= OPERATIONS_MANY, "not enough operations")
    file = directory / "large.html"
    file.write_text(text[:begin] + json.dumps(run, ensure_ascii=False).replace("<", "\\u003c") + text[end:])
    check(file.stat().st_size < BYTES_MAX, f"{OPERATIONS_MANY} operations make {file.stat().st_size} bytes")
    page = open_page(browser, file, DESKTOP, "light")
    took = page.evaluate(
        """() => { const begin = performance.now();
        for (let round = 0; round < 20; round++) { look(round * 1e8, run.end_ns); drawNodes(); drawClients(); }
        return (performance.now() - begin) / 20 / 1000; }"""
    )
    print(f"{len(run['operations'])} operations: {file.stat().st_size} bytes, {took * 1000:.1f} ms for each drawing")
    check(took < DRAWING_MAX_S, f"a drawing of {OPERATIONS_MANY} operations takes {took} s")
    close(page, "large")


def traces(directory):
    """The traces for the Perfetto viewer: every slice has its process, and what begins ends."""
    for file in sorted(directory.glob("*.json")):
        events = json.loads(file.read_text())["traceEvents"]
        named = {it["pid"] for it in events if it["ph"] == "M" and it["name"] == "process_name"}
        check({it["pid"] for it in events} <= named, f"{file}: a process without a name")
        begun = [it["id"] for it in events if it["ph"] == "b"]
        ended = [it["id"] for it in events if it["ph"] == "e"]
        check(begun and sorted(begun) == sorted(ended), f"{file}: a slice without an end")
        check(all(it["dur"] >= 0 and it["ts"] >= 0 for it in events if it["ph"] == "X"), f"{file}: a slice that ends before it begins")
        print(f"{file.name}: {len(events)} events")


def main():
    directory = Path(sys.argv[1]).resolve()
    begin = time.monotonic()
    with sync_playwright() as playwright:
        own = os.environ.get("CHROMIUM")
        browser = playwright.chromium.launch(executable_path=own or None, args=["--no-sandbox"])
        looks(browser, directory, "good", ["Every check held", "The whole run", "Facts of the run"])
        looks(browser, directory, "order", ["Violated: linearizable", "stale answer", "The legal partial orders", "State after step", "cannot"])
        looks(browser, directory, "durable", ["Violated: durable", "acknowledged writes are gone", "it is gone", "power failure"])
        looks(browser, directory, "routing", ["Violated: routing", "The snapshot stream", "release 1", "must be bare"])
        looks(browser, directory, "watch", ["Violated: watch", "had on node", "What the client was owed, and what it got"])
        looks(browser, directory, "hashes", ["Violated: replicas equal", "What the replicas held after entry"])
        pinches(browser, directory)
        large(browser, directory)
        browser.close()
    traces(directory)
    print(f"the pages hold, in {time.monotonic() - begin:.0f} s")


main()
