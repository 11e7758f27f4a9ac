"""Access to files, processes, paths and permissions of the machine."""
