"""Real processes, killed before an act on the disk: a sample of what `make sweep` does in full."""

import pytest

from tests.reliability.lives import Life, template
from tests.reliability.victims import commit_apart, die_after_the_commit


@pytest.fixture
def life(tmp_path):
    empty = template(tmp_path / "empty")
    return lambda kind: Life(empty, tmp_path / "point", kind)


@pytest.mark.fault("F1")
@pytest.mark.parametrize("point", [0, 9, 25, 40, 55, 70])
def test_a_worker_killed_at_its_disk_loses_and_doubles_nothing(life, point):
    assert life("worker").wrong(point=point) == (True, [])


@pytest.mark.fault("F15")
@pytest.mark.parametrize("point", [0, 6, 12])
def test_an_api_killed_before_the_commit_leaves_no_job_and_the_retry_makes_one(life, point):
    of_api = life("api")

    assert of_api.wrong(point=point) == (True, [])
    assert (of_api.acknowledged, of_api.left) == ([], 0)


@pytest.mark.fault("F14")
def test_an_api_killed_after_the_commit_has_made_the_one_job_of_the_key(life):
    of_api = life("api")

    assert of_api.wrong(planted=die_after_the_commit) == (True, [])
    assert (of_api.acknowledged, of_api.left) == ([], 1)


@pytest.mark.fault("F12")
@pytest.mark.parametrize("point", [0, 20])
def test_a_supervisor_killed_at_its_disk_loses_and_doubles_nothing(life, point):
    assert life("supervisor").wrong(point=point) == (True, [])


@pytest.mark.root
@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    "death", [("fdatasync", 3), ("pwrite64", 20), ("fsync", 1), ("renameat", 1)]
)
def test_a_worker_killed_at_a_system_call_loses_and_doubles_nothing(life, death):
    assert life("worker").wrong(strace=death) == (True, [])


def test_those_laws_find_changes_that_are_committed_apart(life):
    found = [life("worker").wrong(point=n, planted=commit_apart)[1] for n in range(4, 40, 12)]

    assert any(found)
