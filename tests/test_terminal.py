"""Output on the terminal."""

import io
import os
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from tf_gradcam._cli.group import OneLineGroup, ProgressBar, warnings_as_notes
from tf_gradcam._errors import Message, ModelWarning
from tf_gradcam._models.preprocessing import ImageRangeWarning
from tf_gradcam._terminal import downloads_on_stderr, print_message, start_tensorflow


class Terminal(io.StringIO):
    def isatty(self):
        return True


def group_that(action):
    @click.group("tf-gradcam", cls=OneLineGroup)
    def group():
        pass

    @group.command()
    def act():
        return action()

    return group


def fail_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("wrong\n  value"), 2, "tf-gradcam: wrong value\n"),
        (OSError("no disk"), 2, "tf-gradcam: no disk\n"),
        (ImportError("no cv2"), 2, "tf-gradcam: no cv2\n"),
        (KeyboardInterrupt(), 130, "tf-gradcam: Interrupted.\n"),
        (click.UsageError("no such thing"), 2, "tf-gradcam: no such thing. See `tf-gradcam act --help`.\n"),
        (click.ClickException("no"), 2, "tf-gradcam: no\n"),
    ],
)
def test_error_is_one_line_and_a_status(error, status, line):
    result = CliRunner().invoke(group_that(fail_with(error)), ["act"])
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", line)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_command_returns_its_status(returned, status):
    assert CliRunner().invoke(group_that(lambda: returned), ["act"]).exit_code == status


def test_name_that_the_terminal_cannot_show_is_written_readably():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    result = CliRunner().invoke(group_that(lambda: click.echo(name)), ["act"])
    assert (result.exit_code, result.stdout) == (0, "caf\\udce9.png\n")


def test_progress_is_silent_without_a_terminal(capsys):
    with ProgressBar(2) as progress:
        progress.clear()
        progress.advance()
    assert capsys.readouterr() == ("", "")


def test_progress_counts_on_a_terminal_and_clears_its_line_for_text(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(2) as progress:
        assert "0/2" in terminal.getvalue()
        progress.clear()
        assert terminal.getvalue().endswith("\r\x1b[K")
        progress.advance()
        assert "1/2" in terminal.getvalue()


def test_warnings_of_this_package_are_one_line_each_and_once(capsys):
    with warnings_as_notes():
        for _ in range(2):
            warnings.warn("much\ntoo bright", ImageRangeWarning, stacklevel=1)
        warnings.warn("not of interest", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "tf-gradcam: note: much too bright\n"
    with pytest.warns(UserWarning, match="as before"):
        warnings.warn("as before", UserWarning, stacklevel=1)


def test_downloads_are_announced_on_a_terminal_alone(monkeypatch, capsys):
    with downloads_on_stderr():
        print("Downloading")
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with downloads_on_stderr():
        print("Downloading")
    assert (terminal.getvalue(), capsys.readouterr().out) == ("Downloading\n", "")


def test_start_keeps_a_log_level_that_is_set(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    start_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"


def test_start_with_a_closed_stderr_is_no_error():
    script = "from tf_gradcam._terminal import _mute_stderr\nwith _mute_stderr(): print('on')"
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.close(2)\n{script}"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "on\n"


def test_muting_holds_back_what_is_written_to_the_descriptor(capfd):
    from tf_gradcam._terminal import _mute_stderr

    with _mute_stderr():
        os.write(2, b"from a library\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_tell_is_one_line(capsys):
    print_message("several\nlines   of\ttext")
    assert capsys.readouterr().err == "tf-gradcam: several lines of text\n"


REMEDY = Message("Layer 'a' has no cells.", "Pass layer='b'.", "Pass --layer b.")
FOR_TERMINAL = "Layer 'a' has no cells. Pass --layer b.\n"


def test_tell_gives_the_remedy_for_the_command_line(capsys):
    print_message(REMEDY)
    assert capsys.readouterr().err == f"tf-gradcam: {FOR_TERMINAL}"


def test_error_ends_the_program_with_the_remedy_for_the_command_line():
    result = CliRunner().invoke(group_that(fail_with(ValueError(REMEDY))), ["act"])
    assert (result.exit_code, result.stderr) == (2, f"tf-gradcam: {FOR_TERMINAL}")


def test_warning_is_told_with_the_remedy_for_the_command_line(capsys):
    with warnings_as_notes():
        warnings.warn(REMEDY, ModelWarning, stacklevel=1)
    assert capsys.readouterr().err == f"tf-gradcam: note: {FOR_TERMINAL}"
