"""The Service API of Dify in all supported versions."""
