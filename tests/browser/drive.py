"""Opens pages of runs in a real browser and uses them as a reader would.

Arguments: the page of a run of one droplet, that of a run of many, the browser, its driver, a folder for
pictures. Prints `all seen` in the end.
"""

import os
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service

page, page_of_many, browser, driver_path, pictures = sys.argv[1:]


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


def alone():
    """Nothing was complained of, and nothing was loaded."""
    said = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not said, said
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not loaded, f"the page is to stand alone: {loaded}"


def is_open(details):
    return details.get_attribute("open") is not None


def summary(details):
    return details.find_element(By.XPATH, "./summary")


def steps_of(group):
    return group.find_elements(By.CSS_SELECTOR, "details.step")


def by_keys():
    """The folds of many droplets, and those within them, without a mouse."""
    driver.get("file://" + page_of_many)
    groups = driver.find_elements(By.CSS_SELECTOR, "details.group:has(details.step)")
    well = [group for group in groups if "well" in group.get_attribute("class").split()]
    bad = [group for group in groups if group not in well]
    assert len(well) >= 30 and len(bad) == 1, (len(well), len(bad))

    # What failed is open from the start, fold within fold; what went well is not.
    assert is_open(bad[0]) and "droplet.box[7]" in summary(bad[0]).text, summary(bad[0]).text
    failed = [step for step in steps_of(bad[0]) if is_open(step)]
    assert len(failed) == 1 and "said by" in failed[0].find_element(By.CSS_SELECTOR, "pre.log").text
    others = [step for step in steps_of(bad[0]) if step not in failed]
    assert others and all(step.is_displayed() for step in others), "the rest of its lane is there, folded"

    # A group opens by Enter, and what is in it is folded still; a step of it opens by Space.
    group = next(group for group in well if "droplet.box[9]" in summary(group).text)
    step = steps_of(group)[0]
    within = step.find_element(By.XPATH, "./div")
    assert not is_open(group) and not step.is_displayed()
    summary(group).send_keys(Keys.ENTER)
    assert is_open(group) and step.is_displayed() and not within.is_displayed()
    assert driver.switch_to.active_element == summary(group), "who opened it is still there"
    driver.switch_to.active_element.send_keys(Keys.TAB)
    assert driver.switch_to.active_element == summary(step), "Tab goes into what is open"
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert within.is_displayed(), "a step opens within its group"
    summary(step).send_keys(Keys.ENTER)
    assert not within.is_displayed() and step.is_displayed() and is_open(group), "a step folds alone"
    # What was open within a fold is open when that opens again.
    summary(step).send_keys(Keys.SPACE)
    summary(group).send_keys(Keys.SPACE)
    assert not step.is_displayed() and not within.is_displayed()
    driver.switch_to.active_element.send_keys(Keys.TAB)
    assert driver.switch_to.active_element not in steps_of(group), "Tab does not go into what is folded"
    assert driver.switch_to.active_element.is_displayed()
    summary(group).send_keys(Keys.ENTER)
    assert within.is_displayed()

    # A bar leads to its step through both folds.
    folded = next(group for group in well if not is_open(group))
    step = steps_of(folded)[-1]
    within = step.find_element(By.XPATH, "./div")
    bar = one(f'a.bar[href="#{within.get_attribute("id")}"]')
    bar.send_keys(Keys.ENTER)
    assert is_open(folded) and is_open(step) and within.is_displayed()

    # Results that went well are one line until they are asked for.
    results = one("details.group:has(table)")
    rows = results.find_elements(By.CSS_SELECTOR, "tr:has(td)")
    assert len(rows) == 30 and "30 of 31 went well" in summary(results).text, len(rows)
    assert not rows[0].is_displayed()
    summary(results).send_keys(Keys.SPACE)
    assert all(row.is_displayed() for row in rows)

    # The filter leaves the one group that did not go well.
    one("#only-failed").send_keys(Keys.SPACE)
    assert [group for group in groups if group.is_displayed()] == bad
    assert all(step.is_displayed() == (step in failed) for step in steps_of(bad[0]))
    one("#only-failed").send_keys(Keys.SPACE)
    assert all(group.is_displayed() for group in groups)
    for width in (400, 1280):
        fits(width)
    alone()


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

        alone()
        by_keys()
    finally:
        driver.quit()
print("all seen")
