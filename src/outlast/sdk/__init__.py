"""What users import: the app, tasks, handles, the job context and the clients."""
