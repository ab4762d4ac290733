"""Conformance laws as library code, for the authors of pieces that other distributions add."""
