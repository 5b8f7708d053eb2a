"""The machine and the system: devices, instructions, memory, processes, signals and files.

Read `device.py` first. Nothing here depends on models.
"""
