"""What a user reads whose OpenCV is missing or cannot start."""

import subprocess
import sys

import pytest

from tf_gradcam.image.opencv import opencv


def test_opencv_is_the_module():
    assert opencv().__name__ == "cv2"


def test_opencv_not_installed_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # what Python takes for "no such module"
    with pytest.raises(ImportError, match=r"not installed.*pip install opencv-python-headless"):
        opencv()


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_opencv_without_system_library_names_both_remedies(monkeypatch, tmp_path, library):
    broken = f"raise ImportError('{library}: cannot open shared object file: No such file or directory')"
    import_instead(broken, monkeypatch, tmp_path)
    with pytest.raises(ImportError, match=rf"{library}.*libgl1 libglib2\.0-0.*opencv-python-headless"):
        opencv()


def test_opencv_other_failures_pass_unchanged(monkeypatch, tmp_path):
    import_instead("raise ImportError('numpy.core.multiarray failed to import')", monkeypatch, tmp_path)
    with pytest.raises(ImportError, match=r"^numpy\.core\.multiarray failed to import$"):
        opencv()


def test_pictures_do_not_import_opencv_before_it_is_needed():
    program = "import sys, tf_gradcam.image; sys.exit(not {'cv2', 'keras'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def import_instead(source, monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
