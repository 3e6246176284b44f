-- What a claim must know before it starts anything, in one answer. A queue with one line, which has no
-- turns to keep, is the usual case: its first and its last place in the index are the same.
SELECT asked.queue, known.now, known.is_alive, known.limits,
       EXISTS (SELECT FROM outlast.doc WHERE kind = 'queue' AND key = asked.queue
               AND doc::jsonb -> 'paused' = 'true') AS is_paused,
       EXISTS (SELECT FROM outlast.turn WHERE turn.queue = asked.queue) AS has_turns,
       first.place AS first, last.place AS last
FROM unnest(:queues::text[]) WITH ORDINALITY AS asked (queue, place)
CROSS JOIN (
  SELECT outlast.instant(:now) AS now,
         EXISTS (SELECT FROM outlast.doc WHERE kind = 'worker' AND key = :holder AND lease_until <> 0) AS is_alive,
         ARRAY(SELECT ARRAY[kind, key, doc] FROM outlast.doc
               WHERE kind IN ('declared', 'limit', 'queue') LIMIT :most) AS limits
) AS known
LEFT JOIN LATERAL (
  SELECT ARRAY[priority::text, tenant, concurrency_key, task] AS place FROM outlast.job
  WHERE status = 'pending' AND queue = asked.queue
  ORDER BY (-priority), tenant, concurrency_key, task, number LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
  SELECT ARRAY[priority::text, tenant, concurrency_key, task] AS place FROM outlast.job
  WHERE status = 'pending' AND queue = asked.queue
  ORDER BY (-priority) DESC, tenant DESC, concurrency_key DESC, task DESC, number DESC LIMIT 1
) AS last ON true
ORDER BY asked.place
