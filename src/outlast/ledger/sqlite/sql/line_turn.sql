-- A lane's turn holds for all of its lines; the head moves in the one that was served.
UPDATE line SET pass = :pass, head = CASE WHEN task = :task THEN :head ELSE head END
WHERE queue = :queue AND priority = :priority AND tenant = :tenant AND key = :key
