"""HTTP: what comes in over a socket, what goes out, and 8x8's envelope for what is refused."""
