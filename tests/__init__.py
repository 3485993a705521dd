GUARD = 3600
"""Seconds after which a test that hangs is ended. No limit on work, which takes a small part of them on any machine."""
