"""The job: what is resolved, the loop, and what is recorded on the way."""
