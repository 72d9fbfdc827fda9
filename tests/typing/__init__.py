"""
Uses of the public API that mypy reads and nobody runs.

Each right one has the type that is promised; each wrong one is an error that mypy must find, since an ignored error
that is none is one itself.
"""
