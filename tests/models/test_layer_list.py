"""What the terminal lists of layers and methods."""

from tests.helpers.redblue import red_blue_model
from tf_gradcam._cli.info import method_list
from tf_gradcam._models.layer_list import layer_table, list_layers
from tf_gradcam._rules.table import METHODS


def test_layer_table_has_a_line_per_layer_and_marks_the_default():
    lines = layer_table(list_layers(red_blue_model())).splitlines()
    assert lines[0].split("  ")[0] == "layer"
    assert [line.split()[0] for line in lines[1:]] == ["scale", "hue", "mean", "classes"]
    cells = [cell.strip() for cell in lines[2].split("  ") if cell.strip()]
    assert cells == ["hue", "Conv2D", "6 x 10 x 2", "1 x 1", "yes, the default"]
    assert "no: its output (B, 2) has no spatial extent" in lines[4]


def test_rows_show_themselves_as_the_table():
    rows = list_layers(red_blue_model())
    assert repr(rows) == layer_table(rows)
    assert rows == list(rows)
    assert "offset down, right" not in repr(rows)
    assert "offset down, right" in repr(list_layers(red_blue_model(), offsets=True))


def test_layer_table_is_aligned():
    lines = layer_table(list_layers(red_blue_model())).splitlines()
    column = lines[0].index("output")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)


def test_layer_table_says_any_for_a_free_size():
    assert "any x any x 2" in layer_table(list_layers(red_blue_model(size=(None, None))))


def test_method_list_has_what_it_does_what_it_costs_and_its_source():
    def chance(activations, gradients):
        """Each channel counts by chance.

        Returns:
            nothing of use.

        Source: Somebody 2020, eq. 1,
        https://example.org/1. Deviation: all of it.
        Cost: 1 forward
        pass.
        """

    assert method_list([chance]).splitlines() == [
        "chance",
        "  Each channel counts by chance.",
        "  Cost: 1 forward pass",
        "  Source: Somebody 2020, eq. 1, https://example.org/1",
    ]


def test_every_method_is_listed_with_cost_and_source():
    lines = method_list(METHODS).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(METHODS)
    assert sum(line.startswith("  Cost: ") for line in lines) == len(METHODS)
    assert sum(line.startswith("  Source: ") for line in lines) == len(METHODS)
