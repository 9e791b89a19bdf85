"""The page of detections in a real browser."""

import json

import numpy as np
import pytest
from PIL import Image

from lowlight.inference.folder import write_files
from lowlight.inference.pictures import output_name, small_name
from lowlight.inference.steps import Job

NAMES = {1: "Bicycle", 2: "Boat", 3: "</script><b>odd"}
COUNT = 120


def detection(number, score, box):
    return {"class": NAMES[number], "class_id": number, "score": round(score, 4), "box": box}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """120 images; the n-th has a boat of score n / 200 + 0.3, and each fourth a bicycle of 0.9."""
    folder = tmp_path_factory.mktemp("found here")
    entries = []
    for number in range(COUNT):
        name = f"day 1/#{number:03}.png"
        found = [detection(2, number / 200 + 0.3, [10, 10, 60, 40])]
        found += [detection(1, 0.9, [50, 30, 90, 70])] if number % 4 == 0 else []
        entries.append({"file": name, "width": 100, "height": 80, "detections": found})
        for path in (folder / output_name(name), folder / small_name(name)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((80, 100, 3), 20, np.uint8)).save(path)
    entries[-1]["detections"] = []
    job = Job(None, NAMES, {}, facts={"model": "checkpoint/night/exported/saved_model"})
    write_files(folder, entries, job)
    return folder / "index.html"


def shown(browser):
    return browser.evaluate("document.getElementById('shown').textContent")


def click(browser, selector):
    browser.evaluate(f"document.querySelector({json.dumps(selector)}).click() || 0")


def turn(browser, name, value):
    browser.evaluate(
        f"controls.{name}.value = {json.dumps(value)};"
        f"controls.{name}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_opens_quietly_and_shows_the_first_pictures(browser, page, width, scheme):
    browser.open(page, width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert shown(browser) == "149 objects in 120 of 120 images"
    assert browser.evaluate("document.title") == "Detections"
    assert 0 < browser.evaluate("document.images.length") < COUNT
    loaded = "document.images[0].decode().then(() => document.images[0].naturalWidth)"
    answer = browser.call("Runtime.evaluate", expression=loaded, awaitPromise=True)
    assert answer["result"]["value"] == 100
    assert browser.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)


def test_further_pictures_come_as_the_reader_comes_to_them(browser, page):
    browser.open(page)
    before = browser.evaluate("document.images.length")
    browser.evaluate("document.getElementById('end').scrollIntoView()")
    browser.call("Page.captureScreenshot")
    assert browser.evaluate("document.images.length") > before


def test_classes_and_scores_choose_what_is_shown(browser, page):
    browser.open(page)
    turn(browser, "score", "0.85")
    assert shown(browser) == "39 objects in 120 of 120 images"
    click(browser, "[name=empty]")
    assert shown(browser) == "39 objects in 37 of 120 images"
    click(browser, '[name=class][value="2"]')
    assert shown(browser) == "30 objects in 30 of 120 images"
    assert browser.evaluate("document.querySelectorAll('rect.over').length") == 30
    click(browser, "#none")
    assert shown(browser) == "0 objects in 0 of 120 images"
    click(browser, "#all")
    turn(browser, "text", "#004")
    assert shown(browser) == "1 object in 1 of 120 images"


def test_pictures_can_be_ordered_brightened_and_opened(browser, page):
    browser.open(page)
    first = "document.querySelector('#pictures b').textContent"
    assert browser.evaluate(first) == "day 1/#000.png"
    link = browser.evaluate("document.querySelector('#pictures a').href")
    assert link == (page.parent / "day 1" / "#000.png").as_uri()
    turn(browser, "order", "score")
    assert browser.evaluate(first) == "day 1/#000.png"
    click(browser, '[name=class][value="1"]')
    assert browser.evaluate(first) == "day 1/#118.png"
    turn(browser, "light", "3")
    assert browser.evaluate("getComputedStyle(document.images[0]).filter") == "brightness(3)"
