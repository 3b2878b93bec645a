"""Decides what the commands beside `run` do with their arguments, a module for each; cli.py names them."""
