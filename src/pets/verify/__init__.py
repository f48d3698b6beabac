"""Find problems in the photos before training does. torch is not imported."""
