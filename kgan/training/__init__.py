"""The job: what is resolved, the machine, the loop, and what is recorded on the way."""
