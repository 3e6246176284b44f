-- Compare (id, status, token) and set, in one statement; no row means somebody else was first.
WITH clock AS MATERIALIZED (SELECT outlast.instant(:now) AS now),
changed AS (
  UPDATE outlast.job SET
    status = c.target,
    seq = seq + (c.event <> '')::integer,
    attempt = coalesce(c.attempt, job.attempt),
    lost = coalesce(c.lost, job.lost),
    run = run + c.rerun::integer,
    run_at = coalesce(c.run_at, now + c.delay_us, job.run_at),
    holder = CASE WHEN c.target = 'processing' THEN holder END,
    finished_at = CASE WHEN c.rerun THEN NULL WHEN c.ends THEN now ELSE finished_at END,
    started_at = CASE WHEN c.rerun THEN NULL ELSE started_at END,
    cancel_requested_at = CASE WHEN c.rerun THEN NULL WHEN c.cancel THEN now
                               ELSE cancel_requested_at END,
    discarded = CASE WHEN c.rerun THEN false ELSE discarded OR c.discard END,
    result = CASE WHEN c.rerun THEN NULL ELSE coalesce(c.result, job.result) END,
    args = coalesce(c.args, job.args),
    cursor = coalesce(c.cursor, job.cursor),
    deadline_at = CASE WHEN c.rerun THEN now + deadline_us ELSE deadline_at END,
    progress = CASE WHEN c.rerun THEN NULL ELSE coalesce(c.progress, job.progress) END,
    error = coalesce(c.error, CASE WHEN c.target = 'completed' THEN NULL ELSE job.error END),
    priority = coalesce(c.priority, job.priority),
    queue = coalesce(c.queue, job.queue),
    max_attempts = coalesce(c.max_attempts, job.max_attempts),
    artifacts = CASE WHEN c.artifact IS NULL THEN artifacts ELSE (
      SELECT json_agg(kept.value ORDER BY kept.place)::text FROM (
        SELECT value, place FROM json_array_elements(job.artifacts::json) WITH ORDINALITY AS old (value, place)
        WHERE value ->> 'name' IS DISTINCT FROM c.artifact::json ->> 'name'
        UNION ALL SELECT c.artifact::json, 2147483647
      ) AS kept
    ) END
  FROM unnest(:id::text[], :event::text[], :source::text[], :token::integer[], :target::text[],
              :attempt::integer[], :lost::integer[], :rerun::boolean[], :delay_us::bigint[],
              :ends::boolean[], :cancel::boolean[], :discard::boolean[], :result::text[],
              :progress::text[], :error::text[], :priority::integer[], :queue::text[],
              :max_attempts::integer[], :args::text[], :cursor::text[], :artifact::text[],
              :unless_cancelled::boolean[], :when::text[], :run_at::bigint[], :data::text[],
              :place::integer[])
       AS c (id, event, source, token, target, attempt, lost, rerun, delay_us, ends, cancel, discard,
             result, progress, error, priority, queue, max_attempts, args, cursor, artifact,
             unless_cancelled, moment, run_at, data, place), clock
  WHERE job.id = c.id AND job.status = c.source AND (c.token IS NULL OR job.token = c.token)
    AND NOT (c.unless_cancelled AND cancel_requested_at IS NOT NULL)
    AND (c.moment IS NULL OR now >= CASE c.moment WHEN 'run_at' THEN job.run_at
                                                  WHEN 'expires_at' THEN expires_at ELSE deadline_at END)
  RETURNING job.number, job.seq, c.event, c.data, c.place, now
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, seq, event, now, data FROM changed WHERE event <> '' ORDER BY place
)
SELECT place, seq FROM changed
