"""A control group is made where it may be, and set up as its version wants it."""

import pytest

from outlast.worker import cgroup


def a_delegated_folder(tmp_path, controllers):
    """Files as the kernel has them under cgroup v2, whose controllers this machine may lack."""
    (tmp_path / "cgroup.controllers").write_text(controllers)
    (tmp_path / "cgroup.subtree_control").write_text("")
    return str(tmp_path)


def test_a_delegated_group_of_version_2_bounds_memory_swap_and_processes(tmp_path):
    group = cgroup.make("job", 1 << 30, 64, a_delegated_folder(tmp_path, "cpu memory pids"))

    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (tmp_path / "job" / "memory.max").read_text() == str(1 << 30)
    assert (tmp_path / "job" / "memory.oom.group").read_text() == "1"
    assert (tmp_path / "job" / "pids.max").read_text() == "64"
    assert group.folders == [tmp_path / "job"]


@pytest.mark.parametrize("where", ["off", "/nowhere", None])
def test_where_no_group_can_be_made_none_is(tmp_path, where):
    folder = a_delegated_folder(tmp_path, "cpu pids")  # no memory

    assert cgroup.make("job", 1 << 30, 64, where or folder) is None
    assert not (tmp_path / "job").exists()


@pytest.mark.root
def test_a_removed_group_leaves_nothing(tmp_path):
    group = cgroup.make("outlast-test-removed", 64 << 20, 64)

    assert group.peak() is not None
    assert group.oom_kills() == group.refused_forks() == 0
    assert cgroup.remove(group.folders)
    assert not any(folder.exists() for folder in group.folders)
