"""What speaks HTTP: the connection, the routes, what surrounds them, and the WebSocket."""
