-- Compare (id, status, token) and set, in one statement; no row means somebody else was first.
UPDATE job SET
  status = :target,
  seq = seq + (:event <> ''),
  attempt = coalesce(:attempt, attempt),
  lost = coalesce(:lost, lost),
  run = run + :rerun,
  run_at = coalesce(:run_at, :now + :delay_us, run_at),
  holder = CASE WHEN :target = 'processing' THEN holder END,
  finished_at = CASE WHEN :rerun THEN NULL WHEN :ends THEN :now ELSE finished_at END,
  started_at = CASE WHEN :rerun THEN NULL ELSE started_at END,
  cancel_requested_at = CASE WHEN :rerun THEN NULL WHEN :cancel THEN :now
                             ELSE cancel_requested_at END,
  discarded = CASE WHEN :rerun THEN 0 ELSE discarded OR :discard END,
  result = CASE WHEN :rerun THEN NULL ELSE coalesce(:result, result) END,
  args = coalesce(:args, args),
  cursor = coalesce(:cursor, cursor),
  deadline_at = CASE WHEN :rerun THEN :now + deadline_us ELSE deadline_at END,
  progress = CASE WHEN :rerun THEN NULL ELSE coalesce(:progress, progress) END,
  error = coalesce(:error, CASE WHEN :target = 'completed' THEN NULL ELSE error END),
  priority = coalesce(:priority, priority),
  queue = coalesce(:queue, queue),
  max_attempts = coalesce(:max_attempts, max_attempts),
  artifacts = CASE WHEN :artifact IS NULL THEN artifacts ELSE (
    SELECT json_insert(json_group_array(json(value)), '$[#]', json(:artifact))
    FROM json_each(artifacts) WHERE json_extract(value, '$.name') IS NOT json_extract(:artifact, '$.name')
  ) END
WHERE id = :id AND status = :source AND (:token IS NULL OR token = :token)
  AND NOT (:unless_cancelled AND cancel_requested_at IS NOT NULL)
  AND (:when IS NULL OR :now >= CASE :when WHEN 'run_at' THEN run_at
                                           WHEN 'expires_at' THEN expires_at ELSE deadline_at END)
RETURNING number, seq
