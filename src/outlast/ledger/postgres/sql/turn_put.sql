INSERT INTO outlast.turn (queue, priority, tenant, key, pass)
SELECT :queue, * FROM unnest(:priorities::integer[], :tenants::text[], :keys::text[], :passes::bigint[])
ON CONFLICT (queue, priority, tenant, key) DO UPDATE SET pass = excluded.pass
