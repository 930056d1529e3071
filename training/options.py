"""The command-line options of the trainings."""

from __future__ import annotations

import argparse
import ast
import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from .config import RANDOM_RATE, DataConfig, Stage, TrainingConfig, phantom_defaults, random_defaults
from .data.pipeline import STRENGTHS
from .loop.strategy import STRATEGIES
from .model.classifier import PRECISIONS
from .train import cross_validate, train

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space left, over the quota, over the limit of a file


class _Parser(argparse.ArgumentParser):
    """A parser that reports wrong use in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"Error: {message}. --help lists the options.\n")


def parser(description: str, data: DataConfig, training: TrainingConfig) -> argparse.ArgumentParser:
    """Return the parser of a training, with its defaults."""
    made = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., Any] = made.add_argument
    add("--data", required=True, help="folder with a folder for each class, a .zip of one, its URL, or: phantom")
    add("--out", type=Path, required=True, help="folder of the run, new or empty")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--sha256", help="checksum of the zip")
    add("--exclude", help="CSV file whose first column names files to leave out")
    add(
        "--apart-from",
        help="folder with class folders; leave out images with a (nearly) identical twin there",
    )
    add("--boxes", metavar="FILE", help="CSV file filename,xmin,ymin,xmax,ymax: the share of the heat in these boxes")
    add("--classes", type=int, default=data.classes, help="number of classes to use, the first ones by name")
    add("--limit", type=int, default=data.limit, help="the largest number of images, for a trial")
    add("--split", choices=("clean", "naive"), default=data.split, help="clean: near-identical images stay on one side")
    add("--folds", type=int, metavar="K", help="train K times, so that each image validates once; writes a summary")
    add("--image-size", type=int, default=data.image_size, help=f"pixels, default {data.image_size}")
    add("--batch-size", type=int, default=data.batch_size, help=f"default {data.batch_size}")
    add("--seed", type=int, default=data.seed, help=f"default {data.seed}")
    add("--backbone", help=f"network of keras.applications, or demo, default {training.backbone}")
    add(
        "--backbone-arguments",
        nargs="+",
        default=(),
        metavar="KEY=VALUE",
        help="of the network, such as alpha=0.75",
    )
    add("--weights", help=f"imagenet, none, demo, or a file, default {training.weights}")
    add("--epochs", type=int, nargs="+", help="a number for each stage; 0 leaves a stage out")
    add("--learning-rate", type=float, nargs="+", help="a number for each stage")
    add(
        "--unfreeze",
        nargs="+",
        metavar="BLOCKS",
        help="trained blocks beside the head, or all; for each stage",
    )
    add("--decay", action="store_true", help="let the learning rate fall to zero along a cosine")
    add("--warmup", type=float, metavar="EPOCHS", help="let the learning rate rise along a line first, in each stage")
    add("--patience", type=int, metavar="EPOCHS", help="end a stage after so many epochs without a better one")
    add("--weight-decay", type=float, default=training.weight_decay, help=f"default {training.weight_decay}")
    add("--dropout", type=float, default=training.dropout, help=f"rate, default {training.dropout}")
    add("--fc-units", type=int, default=training.fc_units, help="of fc1 and fc2, for VGG and demo, default its own")
    add(
        "--label-smoothing", type=float, default=training.label_smoothing, metavar="SHARE", help="of the target, 0 to 1"
    )
    add("--mixup", type=float, default=training.mixup, metavar="ALPHA", help="mix the pictures of a batch, such as 0.4")
    add("--class-weights", action="store_true", help="give each class the same share of the loss")
    add("--augmentation", choices=STRENGTHS, default=training.augmentation, help="strong: RandAugment")
    add("--precision", choices=PRECISIONS, default=training.precision)
    add(
        "--cache-features",
        action=argparse.BooleanOptionalAction,
        default=training.cache_features,
        help="compute what the frozen layers give once, and keep it on disk; done where possible",
    )
    copies = f"kept copies of a training picture, all but the first augmented, default {training.feature_copies}"
    add("--feature-copies", type=int, default=training.feature_copies, metavar="COPIES", help=copies)
    add("--strategy", choices=STRATEGIES, default=training.strategy, help="strategy of tf.distribute")
    return made


def main(description: str, data: DataConfig, training: TrainingConfig, words: Sequence[str] | None) -> int:
    """Run a training with the options of the command line.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 wrong use, 130 interrupted. Errors are one line on stderr.
    """
    options = parser(description, data, training).parse_args(words)
    try:
        data, training, note = _defaults(data, training, options)
        options = parser(description, data, training).parse_args(words)
        if note:
            print(note, flush=True)
        told = {
            name: getattr(options, name)
            for name in ("sha256", "exclude", "apart_from", "boxes", "classes", "limit", "split", "folds", "seed")
        }
        data = replace(data, data=options.data, image_size=options.image_size, batch_size=options.batch_size, **told)
        same = ("weight_decay", "precision", "patience", "dropout", "fc_units", "label_smoothing", "mixup")
        named = {name: getattr(options, name) for name in (*same, "class_weights", "augmentation")}
        named |= {name: getattr(options, name) or getattr(training, name) for name in ("backbone", "weights")}
        training = replace(
            training,
            stages=_stages(training.stages, options),
            strategy=options.strategy,
            cache_features=options.cache_features,
            feature_copies=options.feature_copies,
            backbone_arguments=_arguments(options.backbone_arguments),
            layers=training.layers if named["backbone"] == training.backbone else (None, None),
            **named,
        )
        _check(data, training)
        (cross_validate if data.folds else train)(data, training, options.out, options.resume)
    except KeyboardInterrupt:
        best = options.out / "best.keras"
        kept = f"The best model so far is '{best}'" if best.exists() else "No epoch had ended yet"
        if options.folds:
            kept = f"'{options.out}' keeps the folds and epochs that have ended"
        return _fail(130, f"Interrupted. {kept}. Continue with the same command and --resume.")
    except (FloatingPointError, MemoryError, RuntimeError) as error:
        return _fail(1, str(error))
    except OSError as error:
        if error.errno in _FULL:
            kept = f"'{options.out}' keeps its complete files: make room, then add --resume"
            return _fail(1, f"The disk is full ({error.strerror}). {kept}.")
        return _fail(2, str(error))
    except ValueError as error:
        return _fail(2, str(error))
    return 0


def _defaults(data: DataConfig, training: TrainingConfig, options: Any) -> tuple[DataConfig, TrainingConfig, str]:
    """Return the settings to use where the command line has no option, and a line that says so where they differ."""
    if options.data == "phantom" and options.backbone is None and options.weights is None:
        data, training = phantom_defaults(data, training)
        told = (
            "Phantom slices: the bundled network, whose convolutions are trained, gets a new head; "
            f"{data.limit} slices of {data.image_size} pixels unless --limit and --image-size say otherwise. "
            "--backbone and --weights choose another network."
        )
        return data, training, told
    if options.weights == "none":
        told = (
            f"Random weights: all blocks are trained, at a rate of {RANDOM_RATE:g}, unless --unfreeze and "
            "--learning-rate say otherwise."
        )
        return data, replace(training, stages=random_defaults(training.stages)), told
    return data, training, ""


def _fail(code: int, message: str) -> int:
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _check(data: DataConfig, training: TrainingConfig) -> None:
    numbers = {"--image-size": data.image_size, "--batch-size": data.batch_size, "--limit": data.limit}
    numbers |= {"--patience": training.patience, "--fc-units": training.fc_units}
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"Expected {name} of at least 1, received {value}.")
    if data.data == "phantom" and data.sha256 is not None:
        raise ValueError("Expected --sha256 for a zip, received it for phantom slices. Leave it out.")
    if data.folds is not None and data.folds < 2:
        raise ValueError(f"Expected --folds of at least 2, received {data.folds}.")
    if training.feature_copies < 1:
        raise ValueError(f"Expected --feature-copies of at least 1, received {training.feature_copies}.")
    for option, amount in (("--weight-decay", training.weight_decay), ("--mixup", training.mixup)):
        if not 0 <= amount < float("inf"):
            raise ValueError(f"Expected {option} of at least 0, received {amount}.")
    for option, share in (("--dropout", training.dropout), ("--label-smoothing", training.label_smoothing)):
        if not 0 <= share < 1:
            raise ValueError(f"Expected {option} of at least 0 and below 1, received {share}.")
    for stage in training.stages:
        if not 0 <= stage.warmup <= stage.epochs:
            raise ValueError(
                f"Expected --warmup of 0 to {stage.epochs}, the epochs of {stage.name}, received {stage.warmup:g}."
            )
    if training.strategy != "none" and training.mixup:
        raise ValueError("Expected --mixup on one device, received --strategy. Leave out one of them.")
    if training.strategy == "multiworker" and training.patience:
        raise ValueError("Expected --patience on one machine, received --strategy multiworker. Leave out one of them.")
    if not training.stages:
        raise ValueError("Expected --epochs of at least 1 in some stage, received 0 in all.")


def _stages(stages: tuple[Stage, ...], options: Any) -> tuple[Stage, ...]:
    """Return the stages with the values of the options, without stages of 0 epochs."""
    changed = list(stages)
    for name, values in (
        ("epochs", options.epochs),
        ("learning_rate", options.learning_rate),
        ("unfreeze", options.unfreeze and [_blocks(word) for word in options.unfreeze]),
    ):
        if values is None:
            continue
        if len(values) != len(stages):
            option = f"--{name.replace('_', '-')}"
            wanted = ", ".join(stage.name for stage in stages)
            raise ValueError(f"Expected {len(stages)} values of {option}, for {wanted}; received {len(values)}.")
        if name != "unfreeze" and not all(0 <= value < float("inf") for value in values):
            raise ValueError(f"Expected --{name.replace('_', '-')} of at least 0, received {values}.")
        changed = [replace(stage, **{name: value}) for stage, value in zip(changed, values, strict=True)]
    if options.warmup is not None:
        changed = [replace(stage, warmup=options.warmup) for stage in changed]
    return tuple(replace(stage, decay=stage.decay or options.decay) for stage in changed if stage.epochs)


def _blocks(word: str) -> int | None:
    if word == "all":
        return None
    if not word.isdecimal():
        raise ValueError(f"Expected --unfreeze as a number of blocks, or all, received '{word}'.")
    return int(word)


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    pairs = [word.partition("=") for word in words]
    if any(not mark for _, mark, _ in pairs):
        raise ValueError(f"Expected --backbone-arguments as KEY=VALUE, received {list(words)}.")
    try:
        return {key: ast.literal_eval(value) for key, _, value in pairs}
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"Expected Python literals as values, received {list(words)}. Quote text: \"'max'\"."
        ) from error
