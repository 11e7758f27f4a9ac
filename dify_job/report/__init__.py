"""Read-only answers for people: status, past and upcoming runs, and the overview page."""
