"""Tools that read and write files of a workspace, and search in them."""
