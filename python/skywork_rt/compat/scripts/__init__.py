"""The scripts of MindFormers' Skywork recipe as commands of ours: their flags in, a command line of skywork-rt out.

A script is an entry of a table (`SCRIPTS`): its flags, and a function that says what they are here.
"""

from skywork_rt.compat.scripts.table import SCRIPTS, command_of, find_script

__all__ = ["SCRIPTS", "command_of", "find_script"]
