"""Composing: the files of a folder as rows, each file's once, and what becomes of the files then."""
