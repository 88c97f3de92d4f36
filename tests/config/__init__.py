"""Tests of the configuration: files in, one catalog or every problem out."""
