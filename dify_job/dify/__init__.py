"""The Dify Service API over its versions."""
