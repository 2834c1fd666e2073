"""From raw vectors to `Normals` and its files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import UsageError
from vitruvian.tasks import codes
from vitruvian.tasks.normal import CAMERA, PUBLISHED, Normals, NormalTask

IMAGE = np.zeros((60, 80, 3), np.uint8)
TASK = NormalTask(input_hw=(32, 24), frame=CAMERA)


def run(raw_13hw: torch.Tensor) -> Normals:
    _, geometry = TASK.prepare(IMAGE, None)
    tensors = TASK.finish_tensors({"normal": raw_13hw})
    (result,) = TASK.finish({"normal": tensors["normal"][0]}, geometry, PROVENANCE)
    return result


def test_vectors_are_interpolated_before_they_get_unit_length() -> None:
    raw = torch.randn(1, 3, 16, 12)
    before = raw.clone()
    up = functional.interpolate(raw, (60, 80), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    expected = up / (np.linalg.norm(up, axis=2, keepdims=True) + 1e-5)
    result = run(raw)
    np.testing.assert_allclose(result.normals_HW3, expected, atol=1e-6)
    assert torch.equal(raw, before)
    assert result.frame is CAMERA


def test_no_copy_of_the_network_output_is_changed_at_equal_size() -> None:
    task = NormalTask(input_hw=(60, 80))
    raw = torch.randn(1, 3, 60, 80)
    before = raw.clone()
    _, geometry = task.prepare(IMAGE, None)
    task.finish({"normal": task.finish_tensors({"normal": raw})["normal"][0]}, geometry, PROVENANCE)
    assert torch.equal(raw, before)


def test_files_and_their_descriptions() -> None:
    result = replace(run(torch.randn(1, 3, 16, 12)), origin=origin())
    sink = KeepingSink(*Normals.formats)
    result.write(sink)
    assert sink.files.keys() == {"normal.npy", "normal.png", "normal.exr", "normal.drawn.jpg"}
    codes_HW3, about = sink.files["normal.png"]
    np.testing.assert_allclose(codes.decode_normals(codes_HW3), result.normals_HW3, atol=2 / 65534)
    assert about["frame"] == "camera"
    np.testing.assert_array_equal(sink.files["normal.exr"][0]["N.Y"], result.normals_HW3[..., 1])


@pytest.mark.parametrize(("frame", "colour"), [(CAMERA, [127, 127, 255]), (PUBLISHED, [127, 127, 0])])
def test_a_surface_facing_the_camera_is_drawn_by_its_frame(frame, colour: list[int]) -> None:  # type: ignore[no-untyped-def]
    normals_HW3 = np.tile(np.array([0, 0, -1], np.float32), (4, 5, 1))
    drawn = Normals(provenance=PROVENANCE, normals_HW3=normals_HW3, frame=frame).draw()
    assert drawn[2, 2].tolist() == colour


def test_discrepancy_is_the_mean_angle() -> None:
    a = run(torch.randn(1, 3, 16, 12))
    assert TASK.discrepancy(a, a)["deg_mean"] < 1e-4
    assert TASK.discrepancy(a, replace(a, normals_HW3=-a.normals_HW3))["deg_mean"] == pytest.approx(180, abs=1e-3)
    with pytest.raises(UsageError, match="two normal maps"):
        TASK.discrepancy(a, replace(a, normals_HW3=a.normals_HW3[:5]))
