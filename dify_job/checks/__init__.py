"""Findings about jobs and their host, each with a fix. A check starts no run and prints nothing."""
