"""Wrappers: stores made of stores: one that trusts nothing, one with a near store in front of a far one."""
