"""Documents as pages: lines with boxes if there is text, and pictures if there is none."""
