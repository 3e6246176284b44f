-- Removes a line in which nobody waits, unless its lane's turn must be remembered.
DELETE FROM line WHERE queue = :queue AND priority = :priority AND tenant = :tenant AND key = :key
  AND task = :task AND pass = 0
