"""`shapley_kernels.testing` as others use it: its names, and the suite on an allocation of one's own."""

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import testing
from shapley_kernels.testing import AxiomViolation, parametrize_with_checks


def test_all_names_are_listed():
    assert dir(testing) == sorted(testing.__all__)


def mine(rewards):
    return sk.shapley(sk.Max(rewards))


def mine_with_everything(rewards, mask=None, v_empty=0.0):
    return sk.shapley(sk.Max(rewards, mask=mask, v_empty=v_empty))


def equal_shares(rewards):
    return np.repeat(rewards.max(-1, keepdims=True) / rewards.shape[-1], rewards.shape[-1], -1)


@parametrize_with_checks([mine_with_everything])
def test_laws_of_an_allocation(check):
    check()


def test_a_wrong_allocation_is_found():
    (parameter,) = parametrize_with_checks([equal_shares]).args[1]
    assert parameter.id == "axioms-equal_shares-Shapley"
    with pytest.raises(AxiomViolation):
        parameter.values[0]()


def test_allocations_beside_games():
    ids = [p.id for p in parametrize_with_checks([sk.Max, mine], backends=["numba"], dtypes=["float64"]).args[1]]
    assert ids[0] == "axioms-mine-Shapley"
    assert any("Max" in found for found in ids[1:])
    assert not any("mine" in found for found in ids[1:])


def test_functions_that_make_games_are_utilities():
    def low(rewards, mask, v_empty):
        return sk.Min(rewards, mask, v_empty)

    checks = parametrize_with_checks([low], [sk.Shapley()], ["numba"], ["float64"]).args[1]
    assert checks
    assert not any("axioms" in check.id for check in checks)
