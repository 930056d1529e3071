"""The packages of the wheel: `tf_gradcam`, and `training/` as `tf_gradcam.training`. All else is in pyproject.toml."""

from setuptools import find_packages, setup

TRAINING = [f"tf_gradcam.{name}" for name in find_packages(include=["training", "training.*"])]

setup(
    packages=find_packages(include=["tf_gradcam", "tf_gradcam.*"]) + TRAINING,
    package_dir={"tf_gradcam.training": "training"},
)
