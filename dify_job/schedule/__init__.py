"""When a job runs: pure functions over schedules and times."""
