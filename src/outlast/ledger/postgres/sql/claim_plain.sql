-- The usual claim, as a function of the database's: what it must know, and do, in one round trip.
SELECT number, id, task, queue, args, token, attempt, max_attempts, lost, run, priority, timeout_us,
       cancel_requested, key, tenant, holder, submitted_at, deadline_at
FROM outlast.claim(:queues, :holder, :now, :limit)
