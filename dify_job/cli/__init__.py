"""The commands; the single place that prints, exits and turns errors into exit codes."""
