-- A lane's turn holds for all of its lines; the head moves in the one that was served. It moves to the next
-- job there is: with one that is too small, every later claim would have to look whether this line is first.
UPDATE line SET pass = :pass, head = CASE WHEN task = :task THEN coalesce((
    SELECT number FROM job
    WHERE status = 'pending' AND queue = line.queue AND priority = line.priority AND tenant = line.tenant
      AND concurrency_key IS nullif(line.key, '') AND task = line.task AND number >= :head
    ORDER BY number LIMIT 1), :head) ELSE head END
WHERE queue = :queue AND priority = :priority AND tenant = :tenant AND key = :key
