"""What a job keeps between runs: lock, run in flight, last result, history."""
