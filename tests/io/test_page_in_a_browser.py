"""The page in Chromium, without a window; skipped where playwright or a Chromium of the system is missing."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoise_cli.io.page import Entry, Page, View
from tests.io.test_page import AWKWARD, entry, picture

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MANY = 3000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # which root cannot have
    with driver.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab in which no message, error or failed request is tolerated, and nothing but files is asked for."""
    complaints: list[str] = []
    shown = browser.new_page(viewport={"width": 1000, "height": 800})
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("requestfailed", lambda request: complaints.append(request.url))
    shown.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    shown.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
    yield shown
    shown.close()
    assert complaints == []


def write(path: Path, *entries: Entry, embeds: bool = False) -> str:
    with Page(path, "Denoised", overwrite=False, embeds=embeds) as page:
        for one in entries:
            page.add(one)
    return path.as_uri()


def names(tab: Any) -> list[str]:
    return tab.locator("#cards .title").all_text_contents()  # also of those that are not drawn yet


def wait(tab: Any, condition: str) -> None:
    """Until a condition in JavaScript holds; playwright's own way is what the page's policy forbids (eval)."""
    deadline = time.monotonic() + 60
    while not tab.evaluate(condition):
        assert time.monotonic() < deadline, condition
        tab.wait_for_timeout(20)


def widths(tab: Any) -> list[int]:
    """Of the pictures in the viewer, once they are loaded."""
    wait(tab, "[...document.querySelectorAll('#views img')].every((img) => img.complete)")
    return tab.evaluate("[...document.querySelectorAll('#views img')].map((img) => img.naturalWidth)")


def pixel(tab: Any, x: float) -> int:
    """The level that is seen in the first picture, x from 0 to 1."""
    from io import BytesIO

    from PIL import Image

    shown = np.asarray(Image.open(BytesIO(tab.locator(".frame").first.screenshot())).convert("L"))
    return int(shown[shown.shape[0] * 3 // 4, int(x * shown.shape[1])])


def big(name: str) -> Entry:
    view = View("most change", (picture(60, 200, 300), picture(200, 200, 300)))
    return replace(entry(name), views=(view, replace(view, caption="most detail")))


def test_the_border_moves_between_before_and_after(tab: Any, tmp_path: Path) -> None:
    tab.goto(write(tmp_path / "a.html", big("a.png"), embeds=True))
    assert widths(tab) == [300] * 4
    assert tab.locator(".frame").first.bounding_box()["width"] == 300  # at 100 %
    before, after = 60, 200
    assert (pixel(tab, 0.1), pixel(tab, 0.4), pixel(tab, 0.6)) == (before, before, after)
    slider = tab.locator(".frame input").first
    slider.focus()
    for _ in range(30):
        tab.keyboard.press("ArrowLeft")
    assert slider.input_value() == "20"
    assert (pixel(tab, 0.1), pixel(tab, 0.4)) == (before, after)
    box = tab.locator(".frame").first.bounding_box()
    tab.mouse.click(box["x"] + 240, box["y"] + 100)
    assert (pixel(tab, 0.6), pixel(tab, 0.9)) == (before, after)
    tab.keyboard.press("b")
    assert pixel(tab, 0.9) == before
    tab.keyboard.press("b")
    assert pixel(tab, 0.1) == after
    assert tab.locator(".frame input").nth(1).input_value() == "0"  # they move together
    tab.locator("#scale").select_option("2")
    assert tab.locator(".frame").first.bounding_box()["width"] == 600


def test_two_of_several_versions_are_chosen(tab: Any, tmp_path: Path) -> None:
    view = View("all", (picture(50, 90, 90), picture(100, 90, 90), picture(150, 90, 90)))
    tab.goto(write(tmp_path / "a.html", Entry("x", "done", "", versions=("a", "b", "c"), views=(view,)), embeds=True))
    assert (pixel(tab, 0.2), pixel(tab, 0.8)) == (50, 150)
    tab.locator("#left").select_option(label="c")
    tab.locator("#right").select_option(label="b")
    assert (pixel(tab, 0.2), pixel(tab, 0.8)) == (150, 100)
    assert tab.locator(".label").all_inner_texts() == ["c", "b"]


def test_awkward_names_are_shown_as_text(tab: Any, tmp_path: Path) -> None:
    odd = [
        replace(
            big(name), summary=name, error=name, notes=(name,), facts=((name, name),), links=((name, tmp_path / name),)
        )
        for name in AWKWARD
    ]
    tab.goto(write(tmp_path / "odd.html", *odd))
    assert names(tab)[0] == "<b>x</b>.jpg"
    assert names(tab)[-2:] == [r"new\u000aline\u2028\u202egpj.exe", r"\udcff.jpg"]
    for number in range(len(odd)):
        tab.locator("#cards button").nth(number).click()
        assert widths(tab) == [300] * 4
        tab.keyboard.press("Escape")
    assert tab.locator("b, #cards script, #viewer script").count() == 0


def test_a_list_is_filtered_sorted_and_walked_by_keys(tab: Any, tmp_path: Path) -> None:
    entries = [
        replace(big("b2.png"), sort={"noise": 5, "seconds": 1}, facts=(("model", "mallenet-m"),)),
        replace(big("b10.png"), sort={"noise": 9, "seconds": 0.5}, notes=("a note",)),
        Entry("a.png", "failed", "is damaged", "a.png: is damaged"),
    ]
    tab.goto(write(tmp_path / "list.html", *entries))
    assert names(tab) == ["b2.png", "b10.png", "a.png"]
    tab.locator("#sort").select_option("name")
    assert names(tab) == ["a.png", "b2.png", "b10.png"]
    tab.locator("#sort").select_option("noise")
    assert names(tab) == ["b10.png", "b2.png", "a.png"]
    tab.locator("#reverse").check()
    assert names(tab) == ["a.png", "b2.png", "b10.png"]
    for state, left in (("failed", ["a.png"]), ("notes", ["b10.png"]), ("", ["a.png", "b2.png", "b10.png"])):
        tab.locator("#state").select_option(state)
        assert names(tab) == left
    tab.locator("h1").click()
    tab.keyboard.press("/")
    tab.keyboard.type("MALLENET-M")
    assert names(tab) == ["b2.png"]
    assert tab.locator("#count").inner_text() == "1 of 3"
    tab.locator("#find").fill("")
    tab.locator("#cards button").nth(1).focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#name").inner_text() == "b2.png"
    tab.keyboard.press("n")
    assert tab.locator("#name").inner_text() == "b10.png"
    tab.keyboard.press("n")  # and from the last to the first
    assert (tab.locator("#name").inner_text(), tab.locator("#lines").inner_text()) == ("a.png", "a.png: is damaged")
    tab.keyboard.press("p")
    tab.keyboard.press("Escape")
    # A dialog tells that it has been closed, upon which the card is focused, some time after the key was pressed.
    wait(tab, "!document.getElementById('viewer').open")
    wait(tab, "document.activeElement.innerText.startsWith('b10.png')")


def test_thousands_of_photos_load_only_what_is_seen(tab: Any, tmp_path: Path) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(write(tmp_path / "many.html", *(entry(f"{number}.png") for number in range(MANY))))
    wait(tab, "document.querySelector('#cards img').complete")
    assert tab.locator("#cards li").count() == MANY
    assert 1 < len(asked) < MANY / 10
    tab.locator("#find").fill(f"{MANY - 1}.png")
    assert names(tab) == [f"{MANY - 1}.png"]


def test_everything_that_is_seen_has_a_name_and_follows_the_scheme(tab: Any, tmp_path: Path) -> None:
    tab.goto(write(tmp_path / "a.html", big("a.png"), big("b.png")))
    background = "getComputedStyle(document.body).backgroundColor"
    tab.emulate_media(color_scheme="light")
    light = tab.evaluate(background)
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate(background) != light
    tab.get_by_role("button", name="b.png").click()
    assert tab.get_by_role("dialog", name="b.png").is_visible()
    assert tab.get_by_role("slider", name="Border between before and after: most detail").is_visible()
    assert tab.get_by_alt_text("after: most change").count() == 1
    assert tab.get_by_role("button", name="Close").is_visible()
    assert tab.get_by_label("Size").is_visible()
