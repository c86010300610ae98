"""The thinned products of tests: nothing is lost, and each value has its turn in the short run."""

import pytest

from tests.support.covering import covering, sampled


@pytest.mark.parametrize("lengths", [(7, 4, 2), (3, 3), (4, 2), (1, 5)])
def test_each_value_has_its_turn(lengths: tuple[int, ...]) -> None:
    cases = covering(**{f"a{k}": list(range(n)) for k, n in enumerate(lengths)})["argvalues"]
    product = 1
    for n in lengths:
        product *= n
    assert len({case.values for case in cases}) == len(cases) == product
    short = [case.values for case in cases if not case.marks]
    assert len(short) == max(lengths)
    for k, n in enumerate(lengths):
        assert {values[k] for values in short} == set(range(n))


def test_one_in_every() -> None:
    assert [bool(param.marks) for param in sampled("abcde", 2)] == [False, True, False, True, False]
