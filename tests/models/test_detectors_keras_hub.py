"""RetinaNet of keras_hub, tiny: its boxes are those that it decodes itself, its maps those of its raw numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest

from tf_gradcam import Explainer, targets
from tf_gradcam._models.detectors import detector_of, own_detector, pyramid_layers
from tf_gradcam._models.reader import reader_of

keras_hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed: pip install keras-hub")

SIZE = (96, 128)
CLASSES = 3
LEVELS = [f"retina_net_backbone/fpn[{number}]" for number in range(3)]  # P3, P4, P5


@cache
def retinanet(form: str = "xyxy") -> keras.Model:
    """A detector built from a configuration; small heads, so that untrained boxes stay near their anchors."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    models = keras_hub.models
    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64] * 4,
        stackwise_num_blocks=[1] * 4,
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=(*SIZE, 3),
    )
    backbone = models.RetinaNetBackbone(
        image_encoder=encoder,
        min_level=3,
        max_level=5,
        use_p5=False,
        image_shape=(*SIZE, 3),
        name="retina_net_backbone",
    )
    model = models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=CLASSES, bounding_box_format=form, pre_logits_num_conv_layers=1
    )
    for head, scale in (("box_head", 0.02), ("classification_head", 0.3)):
        layer = model.get_layer(head)
        layer.prediction_layer.set_weights([scale * layer.prediction_layer.kernel, 0 * layer.prediction_layer.bias])
    return model


def images() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (2, *SIZE, 3)).astype(np.float32)


def decoded_by_keras_hub(model: keras.Model, form: str) -> dict[str, Any]:
    """The best detections of each image, overlaps kept, in (x1, y1, x2, y2)."""
    own = model.prediction_decoder
    try:
        model.prediction_decoder = keras_hub.layers.NonMaxSuppression(
            form, from_logits=True, confidence_threshold=0.0, iou_threshold=1.0, max_detections=20
        )
        found = model.decode_predictions(model(images(), training=False), images())
    finally:
        model.prediction_decoder = own
    boxes = keras.utils.bounding_boxes.convert_format(found["boxes"], form, "xyxy", height=SIZE[0], width=SIZE[1])
    return {
        "boxes": np.asarray(boxes),
        "scores": np.asarray(found["confidence"]),
        "classes": np.asarray(found["labels"]),
    }


@pytest.mark.parametrize("form", ["xyxy", "yxyx"])
def test_boxes_are_those_that_the_model_decodes(form: str) -> None:
    model = retinanet(form)
    expected = decoded_by_keras_hub(model, form)
    outputs = model(images(), training=False)
    detector = detector_of(outputs, SIZE, own=own_detector(model))
    rows = detector.rows_of(outputs, SIZE)
    assert detector.class_count == CLASSES
    for number in range(2):
        best = np.argsort(-rows.scores.numpy()[number].max(-1), kind="stable")[:20]
        np.testing.assert_allclose(rows.scores.numpy()[number, best].max(-1), expected["scores"][number], rtol=1e-5)
        np.testing.assert_allclose(rows.boxes.numpy()[number, best], expected["boxes"][number], atol=1e-2)
        np.testing.assert_array_equal(rows.scores.numpy()[number, best].argmax(-1), expected["classes"][number])


def test_levels_of_the_pyramid_are_the_default() -> None:
    assert pyramid_layers(reader_of(retinanet())) == LEVELS
    assert Explainer(retinanet()).layer_name == " + ".join(LEVELS)


def test_map_of_a_detection_is_the_map_of_its_raw_number() -> None:
    explainer = Explainer(retinanet())
    (result,) = explainer.detections(images()[:1], [0, 1, 2], threshold=0.1)
    assert len(result) == 3
    assert result.maps is not None
    for position, item in enumerate(result):
        element = targets.OutputOf("cls_logits", targets.Element(item.row, item.class_index))
        expected = Explainer(retinanet(), LEVELS)(images()[:1], element)
        np.testing.assert_allclose(result.maps.heatmaps[position], expected.heatmaps[0], atol=1e-4)
    box = explainer(images()[:1], targets.Box(result[0].class_index, result[0].box))
    np.testing.assert_allclose(box.heatmaps[0], result.maps.heatmaps[0], atol=1e-4)


@pytest.mark.filterwarnings("ignore:`compile..` was not called:UserWarning")
def test_saved_and_loaded_detector_is_read_the_same_way(tmp_path: Any) -> None:
    path = tmp_path / "detector.keras"
    retinanet().save(path)
    loaded = keras.saving.load_model(path)
    (expected,) = Explainer(retinanet()).detections(images()[:1], 0, threshold=0.1)
    (received,) = Explainer(loaded).detections(images()[:1], 0, threshold=0.1)
    assert received[0].row == expected[0].row
    np.testing.assert_allclose(received.boxes, expected.boxes, atol=1e-3)


@pytest.mark.slow
def test_queries_of_d_fine_are_read_and_explained_at_both_levels() -> None:
    keras.utils.set_random_seed(0)
    size = (64, 96)
    models = keras_hub.models
    encoder = models.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 1, 3],
            [16, 8, 32, 1, 1, 3],
            [32, 16, 64, 1, 1, 5],
            [64, 16, 128, 1, 1, 5],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        depths=[1] * 4,
        hidden_sizes=[16, 32, 64, 128],
        embedding_size=8,
        use_learnable_affine_block=True,
        hidden_act="relu",
        image_shape=(*size, 3),
        out_features=["stage3", "stage4"],
    )
    backbone = models.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=10,
        num_labels=CLASSES,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=size,
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[64, 128],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=32,
        num_encoder_layers=1,
        hidden_expansion=0.34,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        decoder_n_points=[3, 3],
        lqe_hidden_dim=16,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=(*size, 3),
    )
    model = models.DFineObjectDetector(backbone=backbone, num_classes=CLASSES, bounding_box_format="yxyx")
    pictures = np.random.default_rng(0).random((1, *size, 3), dtype=np.float32)
    explainer = Explainer(model)
    assert explainer.layer_name.count("hybrid_encoder") == 2
    (result,) = explainer.detections(pictures, [0, 1], threshold=0.0)
    assert result.maps is not None
    assert result.maps.heatmaps.any(axis=(1, 2)).all()
    outputs = model(pictures, training=False)
    x, y, width, height = np.asarray(outputs["pred_boxes"])[0, result[0].row] * [size[1], size[0], size[1], size[0]]
    expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    np.testing.assert_allclose(result[0].box, expected, atol=1e-2)
    logits = np.asarray(outputs["logits"])[0, result[0].row]
    np.testing.assert_allclose(result[0].score, 1 / (1 + np.exp(-logits.max())), rtol=1e-4)
