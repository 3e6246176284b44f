-- The usual claim in one round trip: of queues with one line each, in which nobody's turn is remembered and
-- no limit is set at all. Else nothing is taken, and one row without a job says that this must be judged.
-- Each statement in here sees what was committed before it, so what was waited for is seen.
CREATE FUNCTION outlast.claim(queues text[], claimer text, given bigint, most integer)
RETURNS TABLE (number bigint, id text, task text, queue text, args text, token integer, attempt integer,
  max_attempts integer, lost integer, run integer, priority integer, timeout_us bigint, cancel_requested boolean,
  key text, tenant text, holder text, submitted_at bigint, deadline_at bigint)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  instant bigint;
  found record;
  line text[];
  lines text[] := '{}';
  got integer;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    number := NULL; -- a pooler's connection, where our own setting does not hold
    RETURN NEXT;
    RETURN;
  END IF;
  -- Claims go on side by side; whoever changes a limit waits for them, and they for the change.
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('outlast limits', 0));
  instant := outlast.instant(given);
  FOR found IN
    SELECT asked.queue, first.priority, first.tenant, first.concurrency_key, first.task, said.doc,
      EXISTS (SELECT FROM outlast.doc WHERE kind = 'worker' AND key = claimer AND lease_until <> 0) AS is_alive,
      EXISTS (SELECT FROM outlast.turn WHERE turn.queue = asked.queue) AS has_turns
    FROM unnest(queues) WITH ORDINALITY AS asked (queue, place)
    LEFT JOIN outlast.doc AS said ON said.kind = 'queue' AND said.key = asked.queue
    LEFT JOIN LATERAL (
      SELECT priority, tenant, concurrency_key, task FROM outlast.job
      WHERE status = 'pending' AND queue = asked.queue
      ORDER BY (-priority), tenant, concurrency_key, task, number LIMIT 1
    ) AS first ON true
    ORDER BY asked.place
  LOOP
    IF NOT found.is_alive THEN
      RETURN;
    END IF;
    CONTINUE WHEN found.doc::jsonb -> 'paused' = 'true' OR (found.task IS NULL AND NOT found.has_turns);
    IF found.has_turns
      OR coalesce(found.doc::jsonb -> 'concurrency', 'null') <> 'null'
      OR coalesce(found.doc::jsonb -> 'rate_limit', 'null') <> 'null'
      OR EXISTS (SELECT FROM outlast.doc WHERE kind IN ('declared', 'limit'))
      OR EXISTS (SELECT FROM outlast.job WHERE status = 'pending' AND queue = found.queue
                 AND ((-priority), tenant, concurrency_key, task)
                   > (-found.priority, found.tenant, found.concurrency_key, found.task))
    THEN
      number := NULL;
      RETURN NEXT;
      RETURN;
    END IF;
    lines := lines || ARRAY[[found.queue, found.priority::text, found.tenant, found.concurrency_key, found.task]];
  END LOOP;
  IF lines = '{}' THEN
    RETURN;
  END IF;
  FOREACH line SLICE 1 IN ARRAY lines LOOP
    EXIT WHEN most <= 0;
    -- The rows picked are locked, those that others pick are passed by, and never more than the limit: a
    -- subquery would be free to run again.
    RETURN QUERY
    WITH next AS MATERIALIZED (
      SELECT number FROM outlast.job
      WHERE status = 'pending' AND queue = line[1] AND (-priority) = -line[2]::integer AND tenant = line[3]
        AND concurrency_key = line[4] AND task = line[5] AND (expires_at IS NULL OR expires_at > instant)
      ORDER BY number
      LIMIT most
      FOR UPDATE SKIP LOCKED
    ), taken AS (
      UPDATE outlast.job SET
        status = 'processing', token = token + 1, attempt = attempt + 1, seq = seq + 1,
        holder = claimer, started_at = instant
      FROM next WHERE job.number = next.number
      RETURNING job.*
    ), told AS (
      INSERT INTO outlast.event (job, seq, type, at, data)
      SELECT number, seq, 'started', started_at,
        json_build_object('attempt', attempt, 'token', token, 'worker', holder)::text
      FROM taken ORDER BY number
    )
    SELECT number, id, task, queue, args, token, attempt, max_attempts, lost, run, priority, timeout_us,
      cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
    FROM taken ORDER BY number;
    GET DIAGNOSTICS got = ROW_COUNT;
    most := most - got;
  END LOOP;
END $$;
