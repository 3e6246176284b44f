-- The same compare-and-set for the most frequent transition, touching only what it changes. The status it
-- compares with is no constant: else the planner, who thinks that few jobs run, would look through all that
-- do for each of these.
WITH clock AS MATERIALIZED (SELECT outlast.instant(:now) AS now, 'processing'::text AS source),
changed AS (
  UPDATE outlast.job SET status = 'completed', seq = seq + 1, holder = NULL, finished_at = clock.now,
    result = coalesce(given.result, job.result), error = NULL
  FROM unnest(:id::text[], :token::integer[], :result::text[], :event::text[], :data::text[],
              :place::integer[]) AS given (id, token, result, event, data, place), clock
  WHERE job.id = given.id AND job.status = clock.source AND job.token = given.token
  RETURNING job.number, job.seq, given.event, given.data, given.place, clock.now
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, seq, event, now, data FROM changed ORDER BY place
)
SELECT place, seq FROM changed
