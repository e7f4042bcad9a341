"""The recipe's dropouts: drop path of a residual branch, dropout in the MLPs."""

from typing import Any

from torch import nn

from aoft_bench.config.schema import RecipeOptions


def regularize(model: nn.Module, recipe: RecipeOptions) -> None:
    """Apply the recipe's dropouts to a timm model that was built with its `drop_path` rate, in place.

    drop_path_kind "sample" drops a residual branch for a whole image (timm's DropPath); "element" drops single values.
    mlp_dropout acts after the activation and after the output of every MLP.
    """
    for module in model.modules():
        child: Any
        for name, child in list(module.named_children()):
            if recipe.drop_path_kind == "element" and type(child).__name__ == "DropPath":
                setattr(module, name, nn.Dropout(child.drop_prob))
        if type(module).__name__ == "Mlp":
            module.drop1 = nn.Dropout(recipe.mlp_dropout)
            module.drop2 = nn.Dropout(recipe.mlp_dropout)
