"""Running a handler without a server: what users' own tests import from ``ts``.

Workers use nothing of this: between them and the server there are no such frames.
"""
