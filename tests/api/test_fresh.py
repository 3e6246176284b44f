"""The answer to a submit is the same whether it is written from a template or from a record."""

import json

from hypothesis import given
from hypothesis import strategies as st

from outlast.api.codec import answer, job_out
from outlast.api.fresh import record_of, written
from outlast.core.job import NewJob

AT = 1_800_000_000_123_456
TEXT = st.text(min_size=1).filter(lambda text: text.isprintable() and "\x00" not in text)


@given(
    TEXT,
    TEXT,
    st.integers(-100, 100),
    st.integers(1, 1_000),
    st.lists(TEXT),
    st.sampled_from([0, 1, 5_000_000]),
    st.sampled_from([None, 0, AT, AT + 7]),
)
def test_the_template_says_what_the_record_says(task, queue, priority, tries, tags, delay, run_at):
    job = NewJob(
        id="018bcfe5-6800-7000-8000-000000000000",
        task=task,
        queue=queue,
        priority=priority,
        max_attempts=tries,
        tags=json.dumps(tags),
        delay_us=delay,
        run_at_us=run_at,
    )

    expected = json.loads(answer(job_out(record_of(job, AT))).body)

    assert json.loads(written(job, AT)) == expected
