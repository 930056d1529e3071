"""The controls of the web page: lists by keyboard and mouse, the choice of the model, the list of layers.

Also tests _app/combobox.py.
"""

from __future__ import annotations

from tests.helpers.browser import NEEDS_BROWSER, OPEN_LISTS, OUT_OF_REACH, in_each_window
from tests.helpers.redblue import red_blue_model

pytestmark = NEEDS_BROWSER
OPEN = "[role=listbox]:not([hidden])"
FOCUSED = """() => {
  const one = document.activeElement, frame = one.getBoundingClientRect();
  const column = ['tg-head', 'tg-pick', 'tg-set', 'tg-out'].findIndex(id => one.closest(`#${id}`));
  const place = one.closest('[id^=tg-]')?.id ?? '';
  return [one.tagName, column, frame.bottom + scrollY, place, (one.innerText ?? '').trim().split('\\n')[0]];
}"""


def focused(page):
    return page.page.evaluate("document.activeElement.closest('[id^=tg-]')?.id ?? document.activeElement.tagName")


def entries(page, control):
    """Open a list, read it, and close it."""
    page.press(f"#tg-{control} [role=combobox]", "ArrowDown")
    assert page.page.evaluate(OPEN_LISTS) == [True]
    found = page.page.locator(f"#tg-{control} [role=option]").all_inner_texts()
    page.page.keyboard.press("Escape")
    return found


@in_each_window
def test_tab_reaches_every_control_in_reading_order_and_opens_no_list(page):
    if page.width < 860:
        assert not page.page.locator("#tg-alpha").is_visible()
        page.page.evaluate("document.querySelector('#tg-look > button').click()")
    reached, last = [], (-1, 0.0)
    while True:
        page.page.keyboard.press("Tab")
        tag, column, bottom, place, words = page.page.evaluate(FOCUSED)
        if tag == "BODY":
            break  # behind the last control
        assert page.page.locator(OPEN).count() == 0, place
        assert page.page.evaluate(f"({OUT_OF_REACH})(document.activeElement)") == ""
        is_below = column == last[0] and (bottom > last[1] - 40 or place == "tg-view")  # which has columns of its own
        assert column > last[0] or is_below, (place, reached[-1])
        last = (column, 0.0 if place == "tg-view" else bottom)
        reached += [place, words]
    ids = ("file", "sample-0", "sample-7", "layer", "method", "class", "against", "alpha", "threshold", "colors")
    assert {f"tg-{name}" for name in ids} <= set(reached)
    # One tab stop for the list of tabs, arrows within it, is the custom; Gradio makes each a stop.
    assert {"Overlay (PNG)", "Map (NPY)", "Explore"} <= set(reached)
    assert reached[-1] == "Python code for this picture"


@in_each_window
def test_list_is_searched_and_closed_by_the_keyboard_alone(page):
    keyboard = page.page.keyboard
    field = "#tg-method [role=combobox]"
    page.press(field, "ArrowDown")
    assert page.page.evaluate(OPEN_LISTS) == [True]
    assert page.page.get_attribute(field, "aria-expanded") == "true"
    keyboard.press("ArrowDown")
    active = page.page.get_attribute(field, "aria-activedescendant")
    assert page.page.inner_text(f"[id='{active}']") == "gradcam_pp"
    keyboard.press("Escape")
    assert page.page.locator(OPEN).count() == 0
    assert page.page.input_value(field) == "gradcam"
    keyboard.type("no such method")
    assert page.page.locator(f"{OPEN} [role=option]").all_inner_texts() == ["No entry has these words"]
    keyboard.press("Enter")  # chooses nothing
    keyboard.press("Tab")
    assert (focused(page), page.page.locator(OPEN).count(), page.page.input_value(field)) == ("tg-class", 0, "gradcam")
    keyboard.press("Shift+Tab")
    keyboard.type("xgrad")
    keyboard.press("Enter")
    page.shows("xgradcam at block5_conv3")
    assert (focused(page), page.page.locator(OPEN).count()) == ("tg-method", 0)
    assert "weighted by its activations" in page.page.text_content("#tg-method")  # its summary, hidden on a phone
    page.page.click(field)
    keyboard.type("hires")  # in the place of what stands there
    assert page.page.locator(f"{OPEN} [role=option]").all_inner_texts() == ["hirescam"]


@in_each_window
def test_click_elsewhere_or_on_another_list_closes_a_list(page):
    page.page.click("#tg-layer [role=combobox]")
    groups = page.page.locator(f"{OPEN} [role=group]")
    assert [group.get_attribute("aria-label") for group in groups.all()] == [f"block{number}" for number in range(1, 6)]
    page.page.get_by_text("Show all: 4 more that cannot be chosen").click()
    page.page.get_by_text("its output (B, 4) has no spatial extent").click()  # chooses nothing
    assert page.page.locator(OPEN).count() == 1
    page.look("list")
    if page.width < 860:  # where the list lies over the others
        page.page.click("#tg-head h1")
        page.page.click("#tg-look > button")
    page.page.click("#tg-colors [role=combobox]")
    assert page.page.evaluate(OPEN_LISTS) == [True]
    page.page.click("#tg-head h1")
    assert page.page.locator(OPEN).count() == 0
    assert page.page.evaluate("document.querySelector('#tg-layer label').control.role") == "combobox"


@in_each_window
def test_several_layers_are_chosen_in_one_list_and_one_by_its_map(page):
    page.tab("Layers")
    for name in ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3"):
        page.press(f"[aria-label='remove {name}']")
        assert focused(page) == "tg-layers"
    page.choose("layers", "block5_conv1")
    page.press("#tg-deepen")
    page.settle()
    assert page.titles()[1:] == ["block5_conv1", "block5_conv3"]
    page.look("layers")
    page.press("[aria-label='Explain the layer block5_conv1']")
    page.shows("gradcam at block5_conv1")
    assert page.page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    assert page.page.input_value("#tg-layer [role=combobox]") == "block5_conv1"
    assert focused(page) == "tg-view"


@in_each_window
def test_model_is_changed_at_the_top_and_the_lists_offer_what_it_has(page, tmp_path):
    page.choose("class", "pituitary")
    page.change_model()
    page.page.wait_for_selector("#tg-model-file input", state="attached")
    page.look("model")
    red_blue_model().save(tmp_path / "model.keras")
    page.drop("model-file", ("red_blue.keras", (tmp_path / "model.keras").read_bytes()))
    page.shows("at hue, 6 x 10 cells")
    assert page.page.input_value("#tg-layer [role=combobox]") == "hue (default)"
    assert page.page.input_value("#tg-class [role=combobox]") == "top class"
    assert entries(page, "class") == ["top class", "class 0", "class 1"]
    assert entries(page, "against") == ["nothing", "class 0", "class 1"]
    layers = ["scale\n6 x 10 cells, stride 1", "hue (default)\n6 x 10 cells, stride 1"]
    assert entries(page, "layer") == [*layers, "Show all: 2 more that cannot be chosen"]
    page.choose("network", "bundled model (at the start)")
    page.press("#tg-load")
    page.shows("at block5_conv3, 14 x 14 cells")
    assert focused(page) == "tg-load"


def test_network_of_keras_is_loaded_and_its_thousand_classes_are_searched(page):
    page.change_model()
    page.choose("network", "MobileNet")
    page.press("#tg-weights input[value=none]", "Space")
    page.press("#tg-load")
    page.shows("MobileNet, 1000 classes", "head")
    page.shows("at conv_pw_13_relu, 7 x 7 cells")
    page.page.fill("#tg-class [role=combobox]", "99 class")
    assert page.page.locator(f"{OPEN} [role=option]").all_inner_texts() == [
        f"class {number}" for number in range(1000) if "99" in str(number)
    ]
