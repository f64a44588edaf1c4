"""The floor that everything stands on: points as checked arrays, neighbours, landmarks, signs.

Only :mod:`~topogen.point_cloud.tensors` (and the .pt files of
:mod:`~topogen.point_cloud.files`) need torch.
"""
