-- The newest job of an intention in each state: one probe of the index each, however long its history.
SELECT there.number, there.id, there.status, there.submitted_at
FROM unnest(:states::text[]) AS state (status) CROSS JOIN LATERAL (
  SELECT number, id, status, submitted_at FROM outlast.job
  WHERE sole_key = :key AND status = state.status
  ORDER BY number DESC LIMIT 1
) AS there
