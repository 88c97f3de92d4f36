"""Scheduled work; its place is kept, nothing runs here yet."""
