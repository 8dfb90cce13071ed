"""What starts runs by the clock or by hand: the job over any range of dates, and the schedules.

Belongs here: jobs and schedules; they name assets by key or group and import none. Does not belong
here: what a run does.
"""
