"""The settings file: the pattern's block as it stands, and every mistake at once with its line."""

import pytest

from outlast.core.confinement import Confinement
from outlast.core.errors import InvalidInputError
from outlast.core.limits import HOUR, SECOND
from outlast.core.queue import Rate
from outlast.sdk.settings import Settings

PATTERN = """
queues:
  fast:
    max_duration: 60s
    worker_count: 50
    instance_type: t3.medium

  slow:
    max_duration: 6h
    worker_count: 10
    instance_type: c5.xlarge
"""


@pytest.fixture
def load(tmp_path):
    def load(text, **flags):
        file = tmp_path / "outlast.yaml"
        file.write_text(text)
        return Settings.load(config=str(file), **flags)

    return load


def test_the_pattern_s_block_is_read_as_it_stands(load):
    settings = load(PATTERN)

    fast, slow = settings.rules("fast"), settings.rules("slow")
    assert (fast.max_duration_us, slow.max_duration_us) == (60 * SECOND, 6 * HOUR)
    assert (fast.worker_count, slow.worker_count) == (50, 10)
    assert (fast.instance_type, slow.instance_type) == ("t3.medium", "c5.xlarge")
    assert settings.rules("other").worker_count is None


def test_further_settings_of_a_queue_are_read(load):
    rules = load(
        "queues: {q: {max_depth: 5, concurrency: 2, rate_limit: 100/m, processes: 3,"
        " isolation: process, memory: 200MB, cpu_time: 30m, max_processes: 20, max_files: 99}}"
    ).rules("q")

    assert (rules.max_depth, rules.concurrency, rules.processes) == (5, 2, 3)
    assert rules.rate_limit == Rate(100, 60 * SECOND)
    assert rules.isolation == "process"
    assert rules.walls == Confinement(200 << 20, 1_800 * SECOND, 20, 99)


def test_every_mistake_is_told_at_once_with_its_line(load):
    text = """port: http
concurency: 4
ledger: 5
queues:
  fast:
    max_duration: soon
    worker_cuont: 5
    concurrency: -1
  slow: 7
  bad:
    rate_limit: often
    paused: 1
  heavy: {isolation: docker, memory: lots,
    max_files: 3}
  bare:
    memory: 2GB
"""
    with pytest.raises(InvalidInputError) as told:
        load(text)

    for line, part in (
        (1, "port: expected a whole number"),
        (2, "concurency: no such setting (known: blobs, broker, cgroup, concurrency"),
        (3, "ledger: expected a text, got 5"),
        (6, "queues.fast.max_duration: expected a duration"),
        (7, "queues.fast.worker_cuont: no such setting; known: paused, draining, max_depth"),
        (8, "queues.fast.concurrency: expected a whole number from 0"),
        (9, "queues.slow: expected a mapping of settings, got 7"),
        (11, "queues.bad.rate_limit: expected a rate"),
        (12, "queues.bad.paused: expected true or false, got 1"),
        (13, "queues.heavy.isolation: expected none or process, got 'docker'"),
        (13, "queues.heavy.memory: expected a size such as"),
        (14, "queues.heavy.max_files: expected a whole number from 16 to 1000000, got 3"),
        (16, "queues.bare.memory: expected only with isolation: process beside it"),
    ):
        assert f"outlast.yaml line {line}: {part}" in str(told.value)


def test_a_name_that_is_said_twice_is_refused_with_both_lines(load):
    with pytest.raises(InvalidInputError, match=r"line 3: port again, after line 1"):
        load("port: 1\nhost: here\nport: 2\n")


def test_a_wrong_variable_and_a_wrong_flag_are_told_by_their_names(load, monkeypatch):
    monkeypatch.setenv("OUTLAST_PROCESSES", "many")

    with pytest.raises(InvalidInputError) as told:
        load("host: here", grace="never")

    assert "OUTLAST_PROCESSES: expected a whole number from 1, got 'many'" in str(told.value)
    assert "grace: expected a duration" in str(told.value)


def test_a_flag_beats_a_variable_which_beats_the_file(load, monkeypatch):
    assert load("port: 1").port == 1
    monkeypatch.setenv("OUTLAST_PORT", "2")
    assert load("port: 1").port == 2
    assert load("port: 1", port=3).port == 3


@pytest.mark.parametrize("text", ["[1]", "a: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(load, text):
    with pytest.raises(InvalidInputError, match="config"):
        load(text)


def test_a_port_that_does_not_exist_is_told_with_its_line(load):
    with pytest.raises(InvalidInputError, match=r"line 2: port: expected a port from 0 to 65535"):
        load("host: localhost\nport: 99999\n")
