"""The job: objectives, the step, the loop and what a run leaves."""
