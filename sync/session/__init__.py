"""One client connection after its upgrade: order of requests, output, timers, end."""
