"""Model styles that the package is tested on. Importing any of it enters every style into STYLES."""

from tests.zoo import rare  # enters its styles
from tests.zoo.styles import STYLES

__all__ = ["STYLES", "rare"]
