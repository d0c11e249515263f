"""Opens a page of a run in a real browser and uses it as a reader would.

Arguments: the page, the browser, its driver, a folder for pictures. Prints `all seen` in the end.
"""

import os
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.chrome.service import Service

page, browser, driver_path, pictures = sys.argv[1:]


def start(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync --disable-quic"
    ).split():
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver_path))


def one(css):
    found = driver.find_elements(By.CSS_SELECTOR, css)
    assert len(found) == 1, (css, len(found))
    return found[0]


def colours(scheme):
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    body = driver.find_element(By.TAG_NAME, "body")
    return body.value_of_css_property("background-color"), body.value_of_css_property("color")


def fits(width):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} wide on a screen of {width}"


with tempfile.TemporaryDirectory() as profile:
    driver = start(profile)
    try:
        driver.get("file://" + page)
        assert driver.title == "test page / main - dewpoint", driver.title
        assert "a run step failed" in one("h1").text

        # Each step is a bar within the timeline, and leads to the step.
        line = one(".timeline").rect
        bars = driver.find_elements(By.CSS_SELECTOR, "a.bar")
        assert len(bars) > 5, len(bars)
        for bar in bars:
            rect = bar.rect
            assert rect["width"] >= 3 and rect["height"] > 10, rect
            assert line["x"] <= rect["x"] <= line["x"] + line["width"], (line, rect)
        assert driver.find_elements(By.CSS_SELECTOR, "a.bar.critical")
        good = driver.find_element(By.CSS_SELECTOR, "a.bar.ok")
        step = one("#" + good.get_attribute("href").rpartition("#")[2])
        assert not step.is_displayed(), "a step that went well is folded"
        good.click()
        assert step.is_displayed(), "a bar opens its step"

        # What failed is open from the start, its log with it, and markup in a log is text.
        log = next(log for log in driver.find_elements(By.CSS_SELECTOR, "pre.log") if log.is_displayed())
        assert "<b>collected</b> 2 items" in log.text, log.text
        failed = driver.find_elements(By.CSS_SELECTOR, ".test .verdict.failed")
        assert len(failed) == 1, failed

        # The filter leaves what did not go well.
        count = lambda: sum(step.is_displayed() for step in driver.find_elements(By.CSS_SELECTOR, "details.step"))
        everything = count()
        one("#only-failed").click()
        assert 0 < count() < everything, (count(), everything)
        one("#only-failed").click()
        assert count() == everything

        # By day and by night, on a narrow screen and on a wide one.
        light, dark = colours("light"), colours("dark")
        assert light[0] != dark[0] and light[1] != dark[1], (light, dark)
        for scheme in ("light", "dark"):
            colours(scheme)
            for width in (400, 1280):
                fits(width)
                height = driver.execute_script("return document.documentElement.scrollHeight")
                driver.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": min(height, 4000), "deviceScaleFactor": 1, "mobile": False},
                )
                driver.save_screenshot(os.path.join(pictures, f"{scheme}-{width}.png"))

        said = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        assert not said, said
        loaded = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert not loaded, f"the page is to stand alone: {loaded}"
    finally:
        driver.quit()
print("all seen")
