"""The workflow of docs/gate.md: valid YAML, whose commands and conditions exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tf_gradcam._cli.main import main
from tf_gradcam.audit.gate import check_measured, parse_conditions
from tf_gradcam.audit.quantities import QUANTITIES, missing_needs

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the audits of the page: those of the shell, and the steps of the workflow."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    steps = yaml.safe_load(text)["jobs"]["audit"]["steps"]
    shell = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for line in [*shell, *(step.get("run", "") for step in steps)] if line.startswith("tf-gradcam audit")]


def test_commands_of_the_page_are_read_and_measure_what_they_ask_for() -> None:
    found = commands()
    assert len(found) == 2
    for line in found:
        options = main.commands["audit"].make_context("audit", shlex.split(line)[2:]).params
        conditions = parse_conditions(options["fail_on"], QUANTITIES)
        check_measured(conditions, missing_needs("classification", has_regions=False))
        assert options["junit"].parent == options["out"]
