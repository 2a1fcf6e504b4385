"""Vendors: the only code that does I/O, one file or package per implementation of a port."""
