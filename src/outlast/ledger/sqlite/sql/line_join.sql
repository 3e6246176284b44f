-- Puts a job that waits again, or elsewhere, in its line.
INSERT INTO line (queue, priority, tenant, key, task, pass, head)
SELECT queue, priority, tenant, coalesce(concurrency_key, ''), task,
  coalesce((SELECT pass FROM line WHERE line.queue = job.queue AND line.priority = job.priority
            AND line.tenant = job.tenant AND line.key = coalesce(job.concurrency_key, '') LIMIT 1), 0), number
FROM job WHERE number = :number AND status = 'pending'
ON CONFLICT DO UPDATE SET head = excluded.head WHERE excluded.head < head
