-- The lines of a level and task in the order of their turns, each with its first job: one step of this
-- statement costs a third of a statement of its own.
SELECT tenant, key, pass, head,
  (SELECT number FROM job
   WHERE status = 'pending' AND queue = line.queue AND priority = line.priority AND tenant = line.tenant
     AND concurrency_key IS nullif(line.key, '') AND task = line.task
     AND (expires_at IS NULL OR expires_at > :now)
   ORDER BY number LIMIT 1)
FROM line
WHERE queue = :queue AND priority = :priority AND task = :task ORDER BY pass, head
