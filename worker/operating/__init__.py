"""What operators look at and do: jobs, queues, batches, calls and budgets, and whether everything adds up."""
