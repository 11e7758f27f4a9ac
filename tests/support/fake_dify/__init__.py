"""A fake Dify server that behaves like recorded servers of several versions; it extends the demo server."""
