"""A data set's page in a real browser."""

import re

import pytest
from browser import check_quiet

from lowlight.core.files import CONFIGS
from lowlight.dataset.overview import read_anchors, read_data_set
from lowlight.dataset.overview_page import format_page

D1 = CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"


@pytest.fixture
def page(tiny_data):
    """The path of tiny_exdark's page."""
    return write_page(tiny_data)


def write_page(data):
    data_set = read_data_set(data, data / "images")
    page = data / "describe.html"
    page.write_text(format_page("data", data_set, read_anchors(D1), data / "images"), "utf-8")
    return page


def test_a_page_opens_whole_and_quietly(browser, page):
    check_quiet(browser, page)
    # Eight boxes' classes, eight images as the darkest, seven with boxes; two pictures of each.
    assert browser.evaluate("document.images.length") == 2 * (8 + 8 + 7)


def test_a_page_is_dark_where_the_browser_is_and_printed_on_white(browser, page):
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.open(page)
    assert browser.evaluate(colour) == "rgb(255, 255, 255)"
    browser.open(page, scheme="dark")
    assert browser.evaluate(colour) == "rgb(20, 24, 29)"
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="print", features=features)
    assert browser.evaluate(colour) == "rgb(255, 255, 255)"


def test_on_a_phone_no_table_is_cut(browser, page):
    browser.open(page, 390)
    hidden = "e => e.scrollWidth - e.clientWidth"
    assert set(browser.evaluate(f"[...document.querySelectorAll('.scroll')].map({hidden})")) == {0}


def test_a_class_name_neither_runs_nor_widens_a_page(browser, tiny_data):
    classes = ["<img src=x onerror=alert(1)>", "a" * 90, "a name of many words " * 5 + "in all"]
    (tiny_data / "classes.txt").write_text("\n".join(classes))
    table = tiny_data / "annotations.csv"
    text = table.read_text().replace("Bicycle", classes[0]).replace("Cat", classes[1])
    names = "Boat|Bottle|Bus|Chair|Dog|People"
    table.write_text(re.sub(rf"\b({names})\b", classes[2], text))
    browser.open(write_page(tiny_data), 390)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("document.querySelectorAll('img:not([src^=data])').length") == 0
    assert browser.complaints == []
