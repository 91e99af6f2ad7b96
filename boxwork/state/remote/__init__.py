"""Commits from other processes of this machine: the owner of the facts listens on a socket, the others hand in."""
