"""Angles, coherence and norms against matrices whose values are known by hand, in float64."""

import math

import numpy as np
import pytest
import torch
from networks import swin, vit

from aoft_bench.analysis.gaussian import density, reference, spectral_ratio
from aoft_bench.analysis.matrices import LayerMatrix, backbone_matrices
from aoft_bench.analysis.measures import angles, measure, spectral_norm
from aoft_bench.methods.aoft import ao_matrix

TIGHT = dict(rtol=0.0, atol=1e-10)
TURN = np.array([[3.0, -4.0], [4.0, 3.0]]) / 5


def test_orthogonal_vectors_are_at_90_degrees_and_have_coherence_0():
    found = measure(TURN)
    np.testing.assert_allclose(angles(TURN), [90.0], **TIGHT)
    assert (found.count, found.length, found.pairs, found.zero) == (2, 2, 1, 0)
    for value in (found.mean_abs_from_90, found.std_angle, found.coherence, found.gram_unit, found.gram_raw):
        assert value == pytest.approx(0, abs=1e-10)


def test_lengths_count_in_the_raw_gram_only():
    found = measure(TURN * np.array([[2.0], [3.0]]))  # V V^T = diag(4, 9)
    assert found.gram_unit == pytest.approx(0, abs=1e-10)
    assert found.gram_raw == pytest.approx(math.sqrt(3**2 + 8**2), abs=1e-10)


def test_equal_and_opposite_vectors_have_coherence_1():
    equal, opposite = np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([[1.0, 2.0], [-1.0, -2.0]])
    for vectors, angle in ((equal, 0), (opposite, 180)):
        found = measure(vectors)
        assert found.coherence == pytest.approx(1, abs=1e-10)
        assert found.gram_unit == pytest.approx(math.sqrt(2), abs=1e-10)
        assert found.mean_angle == pytest.approx(angle, abs=1e-5)  # arccos is steep there


def test_angles_of_three_vectors_by_hand():
    vectors = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 5.0]])  # 45, 90 and 45 degrees
    np.testing.assert_allclose(np.sort(angles(vectors)), [45, 45, 90], **TIGHT)
    found = measure(vectors)
    assert found.mean_angle == pytest.approx(60, abs=1e-10)
    assert found.mean_abs_from_90 == pytest.approx(30, abs=1e-10)
    assert found.std_angle == pytest.approx(math.sqrt((15**2 + 15**2 + 30**2) / 3), abs=1e-10)
    assert found.coherence == pytest.approx(math.sqrt(0.5), abs=1e-10)
    assert found.gram_unit == pytest.approx(math.sqrt(4 * 0.5), abs=1e-10)


def test_vectors_of_length_zero_have_no_angle():
    found = measure(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert (found.count, found.zero, found.pairs, found.coherence) == (3, 1, 1, 0)
    assert found.gram_raw == 1  # the missing one on the diagonal
    nothing = measure(np.zeros((4, 3)))
    assert (nothing.zero, nothing.pairs, nothing.mean_angle, nothing.coherence) == (4, 0, None, None)
    assert measure(np.ones((1, 3))).coherence is None


def test_spectral_norms_by_hand():
    assert spectral_norm(np.diag([3.0, -7.0, 2.0])) == pytest.approx(7, abs=1e-10)
    assert spectral_norm(np.outer([3.0, 4.0], [1.0, 2.0, 2.0])) == pytest.approx(15, abs=1e-10)
    assert spectral_norm(TURN) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("d", [2, 8])
def test_unit_q_gives_exactly_orthonormal_columns(d):
    q = torch.randn(48, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    columns = ao_matrix(q / q.norm(), d).T.numpy()
    found = measure(columns)
    assert found.gram_raw < 1e-10
    assert found.mean_abs_from_90 < 1e-10
    assert spectral_norm(columns) == pytest.approx(1, abs=1e-10)
    longer = measure(ao_matrix(1.5 * q / q.norm(), d).T.numpy())
    assert longer.gram_unit > 1e-2


@pytest.mark.parametrize("length", [2, 3, 8, 192, 768])
def test_the_reference_density_integrates_to_one(length):
    at = (np.arange(18_000) + 0.5) / 100
    assert density(length, at).sum() / 100 == pytest.approx(1, abs=1e-6)


def test_the_reference_in_two_and_three_dimensions_by_hand():
    np.testing.assert_allclose(density(2, np.array([10.0, 90.0])), 1 / 180, rtol=1e-12)  # uniform
    assert reference(2, 2).mean_abs_from_90 == pytest.approx(45, abs=1e-3)
    assert reference(2, 2).std_angle == pytest.approx(180 / math.sqrt(12), abs=1e-3)
    np.testing.assert_allclose(density(3, np.array([30.0])), 0.25 * math.pi / 180, rtol=1e-12)  # sin / 2 per radian
    assert reference(2, 3).mean_abs_from_90 == pytest.approx(90 - math.degrees(1), abs=1e-3)
    assert reference(2, 1).std_angle == 90  # numbers point the same way or opposite ways


@pytest.mark.parametrize("length, tolerance", [(768, 0.002), (192, 0.006), (64, 0.02)])
def test_the_reference_spread_is_that_of_the_large_n_formula(length, tolerance):
    assert reference(8, length).std_angle == pytest.approx(math.degrees(1) / math.sqrt(length), rel=tolerance)


def test_the_reference_is_what_random_matrices_show():
    drawn = [measure(np.random.default_rng(seed).standard_normal((64, 96)) / math.sqrt(96)) for seed in range(20)]
    expected = reference(64, 96)
    for name in ("mean_abs_from_90", "std_angle", "gram_unit", "gram_raw"):
        assert np.mean([getattr(one, name) for one in drawn]) == pytest.approx(getattr(expected, name), rel=0.02)
    assert np.mean([one.coherence for one in drawn]) == pytest.approx(expected.coherence, rel=0.15)
    matrix = np.random.default_rng(5).standard_normal((64, 96))
    assert spectral_norm(matrix) / np.linalg.norm(matrix) == pytest.approx(spectral_ratio(64, 96), rel=0.05)


def test_columns_and_rows_are_those_of_x_w():
    matrix = LayerMatrix(0, "q", "weight", np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))  # (in, out) = (2, 3)
    np.testing.assert_array_equal(matrix.vectors("columns"), [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(matrix.vectors("rows"), [[1, 2, 3], [4, 5, 6]])


def test_the_six_matrices_of_every_block_are_found():
    model = vit()
    found = {(m.layer, m.name): m.values for m in backbone_matrices(model)}
    assert sorted({name for _, name in found}) == ["fc1", "fc2", "k", "proj", "q", "v"]
    assert {layer for layer, _ in found} == {0, 1}
    qkv = model.blocks[1].attn.qkv.weight.detach().numpy()
    np.testing.assert_array_equal(found[1, "k"], qkv[32:64].T)
    np.testing.assert_array_equal(found[0, "fc1"], model.blocks[0].mlp.fc1.weight.detach().numpy().T)
    assert found[0, "fc1"].shape == (32, 128)
    assert {m.values.shape for m in backbone_matrices(swin()) if m.name == "q"} == {(16, 16), (32, 32)}
