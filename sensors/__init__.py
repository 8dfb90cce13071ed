"""What starts runs because something happened.

Belongs here: one module for each thing that is watched. Sensors name jobs and assets and import no
asset. Does not belong here: hashing or decoding; a tick reads names, sizes, times, and the header
bytes that hold a date.
"""
