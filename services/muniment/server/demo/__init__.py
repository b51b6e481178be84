"""`muniment demo`: the main job from beginning to end, on real parts, as its users see it."""
