"""What a run computes on: devices and precision, the processes that train together, what they tell each other."""
