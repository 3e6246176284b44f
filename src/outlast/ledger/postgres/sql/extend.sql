-- A lease that was given up (0) stays given up: the worker must come back under a new identity.
UPDATE outlast.doc SET lease_until = CASE :ttl_us::bigint WHEN 0 THEN 0 ELSE outlast.instant(:now) + :ttl_us END
WHERE kind = 'worker' AND key = ANY (:holders::text[]) AND lease_until <> 0
RETURNING key
