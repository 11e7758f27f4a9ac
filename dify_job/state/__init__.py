"""The state of a job between runs: lock, run in flight, last result, history."""
