"""16-bit codes go there and back."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.tasks.codes import decode_depth, decode_normals, encode_depth, encode_normals


def test_depth_codes_span_the_range_and_mark_missing_values() -> None:
    depth = np.array([[0.5, 1.5, np.nan], [1.0, np.inf, -np.inf]], np.float32)
    codes, coding = encode_depth(depth)
    assert codes.dtype == np.uint16
    assert codes.tolist() == [[1, 65535, 0], [1 + 32767, 0, 0]]
    assert (coding["min"], coding["max"]) == (0.5, 1.5)
    np.testing.assert_allclose(decode_depth(codes, 0.5, 1.5)[[0, 0, 1], [0, 1, 0]], [0.5, 1.5, 1.0], atol=1e-5)
    assert np.isnan(decode_depth(codes, 0.5, 1.5)[0, 2])


@pytest.mark.parametrize(("value", "code"), [(3.25, 1), (np.nan, 0)])
def test_flat_and_empty_depth(value: float, code: int) -> None:
    codes, coding = encode_depth(np.full((2, 3), value, np.float32))
    assert (codes == code).all()
    assert np.isfinite([coding["min"], coding["max"]]).all()
    np.testing.assert_array_equal(decode_depth(codes, coding["min"], coding["max"]), np.full((2, 3), value, np.float32))


def test_normal_codes() -> None:
    normals = np.array([[[-1, 0, 1], [0, 0, 0], [np.nan, 0, 1]]], np.float32)
    codes = encode_normals(normals)
    assert codes[0].tolist() == [[1, 32768, 65535], [0, 0, 0], [0, 0, 0]]
    back = decode_normals(codes)
    np.testing.assert_allclose(back[0, 0], [-1, 0, 1], atol=2e-5)
    assert np.isnan(back[0, 1:]).all()
