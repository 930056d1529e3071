"""The report of an audit, as a repair reads it: the finding, and the model and data that it is about."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_gradcam._errors import Message
from tf_gradcam._files.opening import check_regular
from tf_gradcam._models.preprocessing import MODES
from tf_gradcam.audit.run import PARTS
from tf_gradcam.audit.shortcuts.stored import SUSPECTS, read_suspect
from tf_gradcam.audit.shortcuts.suspects import Suspect
from tf_gradcam.audit.table import RUN_FILE

KINDS = ("place", "mark", "tint")
_MODELS = ("best.keras", "model.keras")  # in the folder of a training run, or of a repair


@dataclass(frozen=True)
class ReportedFinding:
    """A finding of a report.

    Attributes:
        number: from 1, in the order of the report.
        class_index, label: of the class.
        is_shortcut: whether the audit calls it a shortcut.
        sentence: with the audit's numbers.
        suspect: what was erased and pasted.
        fingerprint: texts that identify the audit's model, data and settings.
        class_names: of the model.
    """

    number: int
    class_index: int
    label: str
    is_shortcut: bool
    sentence: str
    suspect: Suspect
    fingerprint: dict[str, str]
    class_names: list[str]

    def mapper_arguments(self) -> dict[str, Any]:
        """Return the settings of the audit, as `AuditMapper` takes them."""
        layer, mode = self.fingerprint["layer"], self.fingerprint["preprocessing"]
        height, width = self.fingerprint["size"].split(" x ")
        return {
            "layer": None if " " in layer else layer,  # "all layers", or several that are fused
            "preprocess": mode if mode in MODES else "auto",
            "size": (int(height), int(width)),
            "class_names": self.class_names,
        }


def read_finding(report: str | os.PathLike[str], number: int | None = None) -> ReportedFinding:
    """Read a finding of a report.

    Args:
        report: folder of an audit.
        number: from 1, in the order of the report; None for the strongest shortcut.

    Raises:
        FileNotFoundError: the folder is not a report, or was written by an earlier version.
        ValueError: a file is damaged; there is no such finding, or no shortcut; the audit is not of classes.
    """
    folder = Path(report)
    numbers, run = _json(folder / "audit.json"), _json(folder / PARTS / RUN_FILE)
    if numbers.get("task") != "classification":
        raise ValueError(
            f"Expected an audit of classes, of which one is true, but '{folder}' is of the task {numbers.get('task')}."
            " Repair it by hand: augment the training with the interventions that the report shows."
        )
    try:
        findings, fingerprint = numbers["findings"], dict(run["fingerprint"])
        at = _chosen(findings, number, folder)
        finding = findings[at]
        _check_kind(finding, at + 1)
        suspect = read_suspect(folder / SUSPECTS, at)
        if suspect is None:
            raise KeyError(SUSPECTS)
        return ReportedFinding(
            number=at + 1,
            **{name: finding[name] for name in ("class_index", "label", "is_shortcut", "sentence")},
            suspect=suspect,
            fingerprint=fingerprint,
            class_names=list(numbers["class_names"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"The report '{folder}' is damaged: {error} is missing. Audit the model again.") from error


def _check_kind(finding: dict[str, Any], number: int) -> None:
    """Refuse the findings for which a repair was not measured."""
    is_shared = len(finding.get("classes") or ()) > 1
    if finding["kind"] not in KINDS or is_shared:
        what = "shared by several classes" if is_shared else f"of the kind {finding['kind']}"
        fact = (
            f"Expected a {', '.join(KINDS[:-1])} or {KINDS[-1]} of one class to repair, but finding {number} is {what}."
        )
        raise ValueError(Message(fact, "Choose another by finding=.", "Choose another by --finding."))


def _chosen(findings: list[dict[str, Any]], number: int | None, folder: Path) -> int:
    """Return the position of the finding: the report lists shortcuts first, the strongest before the others."""
    count = len(findings)
    if number is not None:
        if not 1 <= number <= count:
            known = f"1 to {count}" if count else "none: nothing was suspected"
            raise ValueError(f"There is no finding {number} in '{folder}'. It has {known}.")
        return number - 1
    if not count or not findings[0]["is_shortcut"]:
        fact = f"The report '{folder}' has no shortcut, so there is nothing to repair."
        if not count:
            raise ValueError(fact)
        suspect = f"{fact} Its strongest suspect is {findings[0]['sentence']} To train against it all the same, use"
        raise ValueError(Message(suspect, "finding=1.", "--finding 1."))
    return 0


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        check_regular(path, "a file of a report")
        raise FileNotFoundError(
            f"Expected the folder of an audit's report, but there is no '{path}'. Write one: tf-gradcam audit DATA "
            "--model MODEL --out REPORT."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is damaged: {error}. Audit the model again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"'{path}' is not of a report. Audit the model again.")
    return found


def model_file(model: str | os.PathLike[str]) -> str:
    """Return the file of a model; of the folder of a training run or of a repair, the file in it."""
    inside = [Path(model) / name for name in _MODELS]
    return os.fspath(next((path for path in inside if path.is_file()), model))
