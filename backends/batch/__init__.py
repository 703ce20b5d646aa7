"""The providers' batch interfaces behind one port."""
