-- By the tables and not by name: a name that was looked up before is remembered as missing.
SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
               WHERE nspname = 'outlast' AND relname = 'migration')
