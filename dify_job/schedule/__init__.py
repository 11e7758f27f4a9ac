"""When a job runs: functions over schedules and times. Only zones reads files: the data of time zones."""
