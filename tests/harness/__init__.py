"""What tests need to run real servers: archives, processes, sockets.

Nothing here imitates a server: `server.Server` starts the real binary, `client` speaks to it.
"""
