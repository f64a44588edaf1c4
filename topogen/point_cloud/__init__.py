"""The floor of it all, almost without torch: checked arrays, neighbours, landmarks, signs."""
