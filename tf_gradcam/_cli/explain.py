"""The command `tf-gradcam explain`. TensorFlow is imported when it runs, so that help is quick."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tf_gradcam._cli.group import SOME_FAILED, ProgressBar, warnings_as_notes
from tf_gradcam._cli.options import (
    OutFolder,
    SavedParam,
    ThresholdParam,
    import_option,
    input_option,
    method_option,
    preprocess_option,
    task_option,
    unit_option,
    weights_options,
)
from tf_gradcam._errors import for_command_line
from tf_gradcam._terminal import downloads_on_stderr, print_message, print_text, start_tensorflow

if TYPE_CHECKING:
    from tf_gradcam._explain.batch import BatchExplainer, Result
    from tf_gradcam._explain.explainer import Align
    from tf_gradcam._files.manifest import Plan
    from tf_gradcam._rules.table import MethodName

_FREEZE_FROM = 64  # images: constant weights make each one faster, but delay the first one by seconds


@click.command(short_help="Write an overlay and a heatmap for each image.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--model",
    required=True,
    metavar="NAME|FILE",
    help="VGG16, ... of keras.applications, or a .keras or .h5 file.",
)
@weights_options
@import_option
@input_option
@click.option("--layer", metavar="PATH", help="A path that `tf-gradcam layers` lists; it marks the default.")
@method_option
@click.option(
    "--output", metavar="NAME", help="The explained one of several outputs, by name or position; the first by default."
)
@task_option
@click.option(
    "--target",
    metavar="TEXT",
    help="Index or name of a class; A,B or top3 or all for a map each; 'A vs B', 'A vs similar', 'not A'; 'near 30' "
    "or 'near PICTURE' of a value; of a segmentation A@120,80 (a pixel), A@30%,55%, A@mask.png, A@masks/ or "
    "A@everywhere. By default each image's top class, or of a multi-label model all classes above their thresholds.",
)
@click.option(
    "--threshold",
    type=ThresholdParam(),
    metavar="NUMBER",
    help="Probability from which on a class of a multi-label model is explained, 0.5 by default (NAME=NUMBER,... for "
    "single classes), or score from which on a detection is, 0.3 by default.",
)
@click.option(
    "--decode",
    metavar="WORDS",
    help="How a detector writes its boxes, such as center_xywh, rel_yxyx or center_xywh+objectness; by default read "
    "from their values, with a note.",
)
@unit_option
@click.option(
    "--class-names",
    type=click.Path(),
    help="Names in class order: a text file, one a line, or JSON. By default those in the .keras file.",
)
@preprocess_option
@click.option("--size", type=click.IntRange(min=1), help="Side of the images in pixels, if the model does not fix it.")
@click.option(
    "--align",
    type=click.Choice(["none", "measured"]),
    default="none",
    show_default=True,
    help="Shift overlays by the measured offset of the layer's cells, a few pixels.",
)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Weight of the heatmap.")
@click.option(
    "--colormap",
    default="heat",
    show_default=True,
    help="heat, which leaves cold regions as they are, or a name of OpenCV or Matplotlib, such as jet.",
)
@click.option(
    "--map-threshold",
    type=click.FloatRange(0, 1),
    default=0,
    show_default=True,
    help="Value relative to the map's maximum below which the photo is untouched.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Images per batch.")
@click.option(
    "--save",
    "saved",
    type=SavedParam(),
    default="overlay,heatmap",
    show_default=True,
    metavar="LIST",
    help="What is written of each map: overlay, heatmap, figure, and of its hot regions (15 % of the maximum or more) "
    "boxes, masks, contours.",
)
@click.option(
    "--verdict",
    "is_judged",
    is_flag=True,
    help="Say of each map whether to rely on it: its hot region is erased, and it is compared with the maps of noisy "
    "and mirrored copies and of another method. Costs about 35 runs of the model for each map.",
)
@click.option("--out", required=True, type=OutFolder(), help="Folder for the results.")
@click.option("--resume", is_flag=True, help="Explain only the images without results in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace results there without a note.")
def explain(
    images: tuple[str, ...], out: Path, resume: bool, overwrite: bool, saved: tuple[str, ...], **options: Any
) -> int:
    """Write an overlay and a heatmap for each IMAGE: files, folders (searched to any depth) or quoted patterns.

    \b
    OUT/<stem>.overlay.png   the heatmap painted on the image
    OUT/<stem>.heatmap.npy   the heatmap, (H, W) float32 in [0, 1]
    OUT/manifest.csv         a row for each map: class, probability, layer, scaling, diagnosis, stem, ...

    Several maps of an image are OUT/<stem>.class-<index>.overlay.png and so on. Of a segmentation the explained region
    is outlined, and OUT/<stem>.mask.png is the predicted mask, an indexed PNG at the picture's size.

    --save adds OUT/<stem>.figure.png, the hot region as OUT/<stem>.region.png, and boxes and contours as COCO in
    OUT/annotations.json; boxes also as YOLO, in OUT/<stem>.txt and OUT/classes.txt.

    A model of your own classes needs their code: --import FILE. A model of several inputs takes each IMAGE as its
    picture, and the others by --input NAME=VALUE.

    Images of one stem get <stem>, <stem>-2, <stem>-3 in their order. Results of the same images are replaced, with a
    note; others stay. Exit status: 0 all images are done, 1 some failed and the others are done, 2 wrong use.
    """
    from tf_gradcam._files.atomic import held_folder, remove_leftovers
    from tf_gradcam._files.find import OVERLAY_SUFFIX, SAVED, check_outputs, find_images, prepared_folder
    from tf_gradcam._files.manifest import check_masks, plan_run
    from tf_gradcam._results.annotations import Annotations, read_annotations

    if resume and overwrite:
        raise click.UsageError("Expected --resume or --overwrite, received both.")
    with warnings_as_notes():
        paths = find_images(images)
        with prepared_folder(out), held_folder(out):
            mode: Any = "resume" if resume else "overwrite" if overwrite else ""
            annotated = None
            if {"boxes", "contours"} & set(saved):
                old = {"images": ()} if overwrite else read_annotations(out)
                annotated = {image["file_name"] for image in old["images"]}
            plan = plan_run(paths, out, mode, saved, annotated)
            for what in saved:
                check_outputs(paths, plan.stems, out, SAVED[what] or OVERLAY_SUFFIX)
            remove_leftovers(out)  # of a run that was killed
            for note in plan.notes:
                print_message(note, "note: ")
            if plan.finished:
                ways = dict.fromkeys(f"layer {row['layer']}, {row['method']}" for row in plan.finished)
                print_text(f"{len(plan.finished)} of {len(paths)} images are done already ({'; '.join(ways)})")
            if not plan.paths:
                return 0
            explainer = _batch_explainer(paths, freeze=len(plan.paths) >= _FREEZE_FROM, saved=saved, **options)
            if annotated is not None:
                kept = [] if overwrite else sorted(annotated - {path.as_posix() for path in plan.paths})
                explainer.annotations = Annotations(out, explainer.class_names, kept, "contours" in saved)
            if explainer.task.name == "segmentation":
                check_masks(paths, plan, out, mode)
            return _explain_all(explainer, plan, out)


def _batch_explainer(
    paths: list[Path],
    *,
    model: str,
    weights: str | None,
    model_args: tuple[str, ...],
    imports: tuple[str, ...],
    layer: str | None,
    method: MethodName,
    output: str | None,
    target: str | None,
    task: str | None,
    unit: str | None,
    decode: str | None,
    class_names: str | None,
    preprocess: str,
    size: int | None,
    align: Literal["none", "measured"],
    freeze: bool,
    alpha: float,
    colormap: str,
    map_threshold: float,
    **options: Any,
) -> BatchExplainer:
    """Load the model and check the options, so that errors come before the first image."""
    from tf_gradcam._files.class_names import ClassNames, load_class_names
    from tf_gradcam._models.preprocessing import check_mode

    names = None if class_names is None else load_class_names(class_names)
    check_mode(preprocess)
    start_tensorflow()
    from tf_gradcam._explain.batch import BatchExplainer
    from tf_gradcam._explain.explainer import Explainer
    from tf_gradcam._models.open_model import check_scaling, open_model
    from tf_gradcam._models.own_code import import_code
    from tf_gradcam.image.overlay import Look, colormap_colors
    from tf_gradcam.targets.text import asked_by

    colormap_colors(colormap)  # before a large model is loaded
    with downloads_on_stderr():
        opened = open_model(
            model,
            weights=weights,
            arguments=model_args,
            class_names=names,
            preprocess=preprocess,
            own_code=import_code(imports),
        )
    side = (size, size) if size else None
    opened = check_scaling(opened, paths, size=side)
    shift: Align = False if align == "none" else align
    explainer = Explainer(
        opened.reader,
        layer,
        method,
        class_names=opened.class_names,
        align=shift,
        freeze=freeze,
        output=output,
        task=task,
        unit=unit,
        decode=decode,
    )
    if decode is not None and explainer.task.name != "detection":
        fact = f"Expected --decode for a model that finds boxes, received it for a {explainer.task.name} model."
        raise ValueError(f"{fact} Leave it out, or say --task detection.")
    asked = asked_by(target, explainer.task.name, ClassNames(opened.class_names), reads_files=True)
    look = Look(alpha, map_threshold, colormap)
    batch = BatchExplainer(
        explainer, opened.preprocessing, side, asked=asked, unit=unit or "", look=look, files=paths, **options
    )
    explained = "" if explainer.output_name is None else f", output {explainer.output_name}"
    print_text(
        f"{opened.reader.name}{explained}: layer {batch.layer_name}, {explainer.method}, "
        f"images of {batch.size[0]} x {batch.size[1]} as {opened.preprocessing.meaning}"
    )
    return batch


def _explain_all(explainer: BatchExplainer, plan: Plan, out: Path) -> int:
    from tf_gradcam._files.manifest import FAILED, MANIFEST, Manifest

    failed, paths = 0, plan.paths
    is_said, has_note = False, explainer.preprocessing.source == "unknown"  # a note was printed of the scaling
    with contextlib.ExitStack() as stack:
        manifest = stack.enter_context(Manifest(out / MANIFEST, plan.kept))
        progress = stack.enter_context(ProgressBar(len(paths)))
        if explainer.annotations is not None:
            stack.callback(explainer.annotations.write, has_boxes="boxes" in explainer.saved)  # interrupted or not
        for path, result in zip(paths, explainer.run(paths, plan.stems, out), strict=True):
            manifest.add(*result.rows)
            _remove_others(result, plan, out)
            if explainer.annotations is not None and result.row.status != FAILED:
                explainer.annotations.add(path.as_posix(), result.size, result.regions)
            progress.clear()
            if result.row.status == FAILED:
                failed += 1
                print_message(_failure(result))
            else:
                if not is_said:
                    print_message(explainer.task.statement, "task: ")
                    if not has_note:
                        print_message(explainer.preprocessing.statement, "scaling: ")
                    is_said = True
                print_text(_report(result))
            progress.advance()
    print_text(f"{len(paths) - failed} of {len(paths)} images explained, see {out}")
    return SOME_FAILED if failed else 0


def _remove_others(result: Result, plan: Plan, out: Path) -> None:
    """Remove the files of an image's earlier maps that this run has not replaced."""
    from tf_gradcam._files.manifest import files_of

    kept = {name for row in result.rows for name in (*files_of(row.stem, row.map_name, row.saved.split()), row.mask)}
    for name in plan.old.get(result.row.stem, ()):
        if name not in kept:
            (out / name).unlink(missing_ok=True)


def _failure(result: Result) -> str:
    name, error = result.row.file, result.row.error
    return error if repr(name) in error else f"'{name}': {error}"


def _report(result: Result) -> str:
    """Return the lines of an image: what is explained, the five most probable classes, verdicts, what is to be noted.

    Without probabilities the first line ends in the score, or in the value and its unit.
    """
    row = result.row
    numbers = [""] * len(result.rows) if result.top else result.numbers
    labels = "; ".join(_with_number(each.label, text) for each, text in zip(result.rows, numbers, strict=True))
    lines = [f"{row.file}: {labels}"]
    lines += [f"  {probability:.4f}  {label}" for label, probability in result.top]
    names = [f"{each.label}: " if len(result.rows) > 1 else "" for each in result.rows]
    lines += [f"  {name}{each.verdict}" for name, each in zip(names, result.rows, strict=True) if each.verdict]
    lines += [f"  note: {for_command_line(note)}" for note in result.notes]
    return "\n".join(lines)


def _with_number(label: str, number: str) -> str:
    """Return a label and its number; a colon sets it apart from a label that ends in one itself."""
    return f"{label}{':' * bool(number and ' near ' in label)} {number}".rstrip()
