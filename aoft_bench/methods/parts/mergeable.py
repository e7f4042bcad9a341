"""What can be folded back: modules that stand in for a layer of the backbone and can become one like it again."""

from torch import nn


class Foldable(nn.Module):
    """Stands where the backbone had a layer, and computes that layer with an update. `Handle.merge` folds it.

    A method is ``mergeable`` exactly if everything it inserts is inside one of these.
    """

    def merged(self) -> nn.Module:
        """A new, frozen layer of the backbone's own class that computes the same, with the update in its weights.

        The layer that was replaced stays untouched. No random numbers may be drawn: make layers on the meta device.
        """
        raise NotImplementedError(f"{type(self).__name__} must define merged()")
