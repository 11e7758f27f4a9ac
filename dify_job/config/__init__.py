"""TOML, environment, .env and credentials, read into frozen values."""
