-- Who drew a lower position may commit later. So what comes after a missing one is not told before
-- nobody can fill it any more: up to the mark's position, once all transactions older than the mark
-- have ended. Whether they have is told with each row.
WITH page AS MATERIALIZED (
  SELECT *, lag(position, 1, :after) OVER (ORDER BY position) AS before FROM outlast.event
  WHERE position > :after AND (:type::text IS NULL OR type = :type)
  ORDER BY position LIMIT :limit
), look AS MATERIALIZED (
  SELECT pg_snapshot_xmin(pg_current_snapshot()) >= :mark_tx::text::xid8 AS is_past
), judged AS (
  SELECT page.*, look.is_past, bool_and(position = before + 1 OR position <= :settled
      OR (look.is_past AND position <= :mark_position::bigint)) OVER (ORDER BY position) AS is_final
  FROM page, look
)
SELECT e.position, j.id, e.seq, e.type, e.at, e.data, e.is_final, e.is_past
FROM judged AS e JOIN outlast.job AS j ON j.number = e.job
ORDER BY e.position
