"""CLIP with prompts: the frozen backbone, one text encoder, prompt learners, and the artifact they are kept in."""

from candor.clip.artifact import PromptArtifact, load_artifact, save_artifact
from candor.clip.backbone import Backbone, load_backbone, register_backbone
from candor.clip.learners import LEARNERS, ContextLearner, LearnerConfig, PromptLearner
from candor.clip.prompt_tokens import TokenizedNames, tokenize_names
from candor.clip.text_encoder import PromptEmbeddings, encode_prompts, encode_tokens

__all__ = [
    "LEARNERS",
    "Backbone",
    "ContextLearner",
    "LearnerConfig",
    "PromptArtifact",
    "PromptEmbeddings",
    "PromptLearner",
    "TokenizedNames",
    "encode_prompts",
    "encode_tokens",
    "load_artifact",
    "load_backbone",
    "register_backbone",
    "save_artifact",
    "tokenize_names",
]
