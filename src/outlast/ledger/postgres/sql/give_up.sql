-- Marks the workers whose time is up, so that none of them can renew while its jobs are taken.
UPDATE outlast.doc SET lease_until = 0
WHERE kind = 'worker' AND lease_until <> 0 AND lease_until <= outlast.instant(:now)
RETURNING key
