"""Files, processes, paths and permissions of the machine."""
