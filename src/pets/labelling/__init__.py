"""`pets label`: a page to label photos on, those first that help most."""
