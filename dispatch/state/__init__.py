"""Whose the state folder is, and how what others or earlier versions kept is taken over."""
