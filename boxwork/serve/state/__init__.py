"""The pages of the transactions: what happens now, a playground, and what became of each commit."""
