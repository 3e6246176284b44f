SELECT WHERE pg_backend_pid() = :pid
