"""Documents as pages: their lines with boxes where there is text, and pictures where there is none."""
