-- A position that is missing may be that of a transaction which has not committed yet: what comes after
-- it is told only once everybody who could fill it has ended, so that a reader never passes one by.
WITH page AS MATERIALIZED (
  SELECT *, lag(position, 1, :after) OVER (ORDER BY position) AS before FROM outlast.event
  WHERE position > :after AND (:type::text IS NULL OR type = :type)
  ORDER BY position LIMIT :limit
), judged AS (
  SELECT *, bool_and(position = before + 1 OR tx < pg_snapshot_xmin(pg_current_snapshot()))
            OVER (ORDER BY position) AS is_final FROM page
)
SELECT e.position, j.id, e.seq, e.type, e.at, e.data
FROM judged AS e JOIN outlast.job AS j ON j.number = e.job
WHERE e.is_final ORDER BY e.position
