"""The audit of a large data set on many processes or machines, with Ray Data's actors.

python examples/ray_cluster.py report                        # two workers on this machine
python examples/ray_cluster.py report --address auto         # on the cluster that this machine belongs to
python examples/ray_cluster.py report --data DIR --model best.keras --workers 8

Without --data a folder of generated brain slices is written, and without --model the bundled classifier takes them.
Workers read the files themselves: on several machines, data and report lie on a file system that all of them see. An
audit that is interrupted goes on from its finished parts when the same command is run again.

Needs the extra `ray`: pip install "tf-gradcam[ray]".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import ray

from tf_gradcam.audit import audit
from tf_gradcam.demo import CLASS_NAMES, load_demo_model, phantom_slices


def write_slices(folder: Path, count: int) -> Path:
    """Write a folder of generated slices for each class."""
    phantom = phantom_slices(count, seed=31)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        path = folder / CLASS_NAMES[label] / f"slice_{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return folder


def main() -> None:
    """Start Ray or join a cluster, audit, and print the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder for the report")
    parser.add_argument("--data", type=Path, help="a folder of images for each class")
    parser.add_argument("--model", type=Path, help="a .keras file")
    parser.add_argument("--workers", type=int, default=2, help="number of processes that explain images")
    parser.add_argument("--address", help="address of a running cluster, or auto")
    parser.add_argument("--slices", type=int, default=48, help="number of generated slices if no data is given")
    arguments = parser.parse_args()

    arguments.directory.mkdir(parents=True, exist_ok=True)
    names = None
    if arguments.data is None:
        arguments.data = write_slices(arguments.directory / "slices", arguments.slices)
    if arguments.model is None:
        arguments.model, names = arguments.directory / "model.keras", list(CLASS_NAMES)
        load_demo_model().save(arguments.model)
    ray.init(address=arguments.address, log_to_driver=False, logging_level="ERROR")
    result = audit(
        arguments.model,
        arguments.data,
        arguments.directory / "report",
        engine="ray",
        workers=arguments.workers,
        class_names=names,
        num_images=4,  # enough to see the method's metrics; a real audit takes the default of 48
        sanity=False,  # trains nothing, but maps a second model: leave it on where the report is to be trusted
    )
    ray.shutdown()
    done = int(result.rows.is_done.sum())
    print(f"{done} of {len(result.rows['status'])} images explained by {arguments.workers} workers")
    print(f"{result.accuracy:.1%} right; {len(result.shortcuts)} shortcuts; see {result.directory / 'index.html'}")


if __name__ == "__main__":
    main()
