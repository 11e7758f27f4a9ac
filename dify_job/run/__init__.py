"""From a job to its outcome: start, follow, recover, stop."""
