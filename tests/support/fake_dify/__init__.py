"""A faithful imitation of Dify servers, as recorded; it extends the demo server's HTTP."""
