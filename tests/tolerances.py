"""The one table of numerical tolerances that tests compare against; each row says why it is that wide."""

NETWORK_CPU_ABS = 8e-6
"""Float32 network outputs on a CPU against the golden tensors (an independent rebuild meets 6e-6)."""

NETWORK_ANY_DEVICE_ABS = 2e-4
"""The same on any device, as the golden files state it."""

LEGACY_NETWORK_ABS = 1e-4
"""Weights rescued from old archives, run in float32, against what the old program computed."""

STREAMED_REL = 1e-5
"""A head in strips against the same head whole, float32, share of the largest value: sums are ordered otherwise."""

EXPORT_ABS = 2e-5
"""An exported graph against eager, float32: reductions are reordered."""

LOSS_REL = 1e-5
"""Loss values against the golden losses."""

KEYPOINT_PX = 0.1
"""Decoded keypoints of whole cases where the golden calls the location stable."""

DECODE_PX = 2e-3
"""Decoding alone, same heat maps, network pixels."""

SCORE_ABS = 1e-6
"""Peak values: a copy, not an arithmetic result."""

RENDER_LEVELS = 1
"""uint8 drawings against golden drawings."""

WARP_LEVELS = 2
"""uint8 crops against golden crops: interpolation tables differ between OpenCV releases."""

LABEL_SHARE = 0.995
"""Share of pixels with equal labels."""

PUBLISHED_DETECTOR_ABS = 1e-3
"""Published detectors with random weights, float32: batch norms folded, other batches; refinement step after step lets
rounding grow to 2e-4, and in float64 the same comparison meets 4e-15."""

SHARDED_LOSS_REL = 2e-3
"""Losses of a training by several processes against one: sums in another order, which Adam's first steps magnify."""

POSITION_TABLE_ABS = 1.2e-5
"""A resized position table of unit variance: sample positions of up to 37 are rounded in float32, here and there."""

METRIC_ENCODER_ABS = 2e-5
"""Metric3D tokens, stages and context maps: a wrong epsilon of a norm shows from 1e-5 on."""

METRIC_MAPS_ABS = 2e-4
"""Metric3D maps inside the decoder, whose values reach tens."""

METRIC_DEPTH_M = 6e-4
"""Metric3D depth of random weights, metres of up to 150, after steps that let rounding grow."""

METRIC_NORMALS_ABS = 2e-4
"""Metric3D confidence, normals and their concentration: short vectors are brought to length 1, and the golden values
themselves are 8e-5 from what float64 gives."""

SAME_METRES_REL = 1e-5
"""A slanted wall through two bilinear resizes of one canvas: its depth bends between samples."""

METRIC_RESIZED_REL = 1e-6
"""Metres and unit vectors after a resize in float32: a weighted mean, a product and a root."""

METRIC_MEASURES_REL = 1e-5
"""Measures of depth and normals against the golden ones, which were summed in float32 and carry a guard of 1e-6."""

METRIC_WARP_LEVELS = 0
"""uint8 canvases of metric depth against golden ones: OpenCV 4.11 and 5.0 give the same bytes."""

METRIC_INPUT_ABS = 1e-6
"""Normalised input: a difference and a quotient in float32."""

METRIC_RESIZED_M = 1e-4
"""Metres of up to 300 from golden predictions: one resize and one factor in float32."""

METRIC_RESIZED_NORMALS_ABS = 1e-6
"""Golden normals that are only cut out, then of unit length again."""

METRIC_POINTS_M = 1e-5
"""Points of up to 60 m from golden depth."""

RUNNER_CANVAS_LEVELS = 1
"""uint8 canvases of the program for small devices against OpenCV's: float32 against fixed point of 11 bits."""

RUNNER_REL = 1e-4
"""Its maps against the project's own on the same canvas, share of the largest value: where a map bends, a resize whose
sample places are float32 differs from one in float64."""

ANIMATION_CALL_ABS = 1e-4
"""One call of MimicMotion's networks, float32, as the golden files state it (an independent rebuild meets 2e-6)."""

ANIMATION_CONDITION_ABS = 1e-4
"""Its embedding and latents of the reference picture (1.4e-5 met)."""

ANIMATION_LATENTS_REL = 2e-3
"""Its latents after early steps, of their largest value, which reaches hundreds."""

ANIMATION_LATENTS_ABS = 2e-3
"""Its latents at the end (2.5e-4 met)."""

ANIMATION_FRAMES_ABS = 1e-3
"""Its frames, 0 to 1 (2.2e-5 met)."""

DRIVE_POINT_ABS = 1e-9
"""Driving poses: the same arithmetic in float64."""

DRIVE_BOX_PX = 1e-3
"""Boxes of the published person detector, float32."""
