-- A lease that was given up (0) stays given up: the worker must come back under a new identity.
UPDATE doc SET lease_until = :until
WHERE kind = 'worker' AND key = :holder AND lease_until <> 0
RETURNING key
