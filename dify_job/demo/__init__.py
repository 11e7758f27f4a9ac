"""An imitation of Dify on loopback that behaves like the recordings of real servers."""
