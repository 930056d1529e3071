"""The version, in one place: setuptools reads it from here, unimported."""

__version__ = "0.1.0"
