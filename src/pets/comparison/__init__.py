"""Two trained runs on the same photos: which is better, where, and by more than chance?"""
