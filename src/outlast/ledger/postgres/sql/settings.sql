-- No call waits for ever: not for a lock, not for a statement, and no transaction of ours stays open.
-- What a lock was waited for is read after it, whatever isolation others like by default.
-- Each hot statement has one right plan, by an index, whatever the statistics say just after a load.
SELECT set_config('statement_timeout', :statement, false),
       set_config('lock_timeout', :lock, false),
       set_config('idle_in_transaction_session_timeout', :idle, false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_hashjoin', 'off', false),
       set_config('enable_mergejoin', 'off', false),
       set_config('jit', 'off', false),
       set_config('default_transaction_isolation', 'read committed', false)
