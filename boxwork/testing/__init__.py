"""The shipped test kit: contract suites, a fake clock, faults and workloads."""
