-- Nobody waits for a disk on behalf of a wake-up.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :name)
