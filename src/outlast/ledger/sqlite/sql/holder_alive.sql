SELECT 1 FROM doc WHERE kind = 'worker' AND key = :holder AND lease_until <> 0
