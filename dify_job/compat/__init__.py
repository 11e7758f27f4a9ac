"""The original system's Python names and HTTP calls."""
