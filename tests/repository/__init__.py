"""Tests of the repository itself: its set-up, its Makefile, its locks, its documents."""
