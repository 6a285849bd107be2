// DistilBERT: Sanh 2019. BERT without token types and pooler, in words of its own.
#include "models/families.h"

namespace headscope::models {

Blueprint distilbert(const json::Value& config) {
  Blueprint b;
  b.family = "distilbert";
  b.prefixes = {"distilbert."};
  b.width = size_word(config, "dim");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = b.position_rows = size_word_or(config, "max_position_embeddings", 512);
  b.norm.eps = 1e-12F;
  b.word_embeddings = "embeddings.word_embeddings";
  b.position_embeddings = "embeddings.position_embeddings";
  b.embedding_norm = "embeddings.LayerNorm";
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "n_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = false;
  a.query = "attention.q_lin";
  a.key = "attention.k_lin";
  a.value = "attention.v_lin";
  a.output = "attention.out_lin";
  layer.attention_norms.over = "sa_layer_norm";
  layer.mlp.activation = activation_of(word_or(config, "activation", "gelu"));
  layer.mlp.width = size_word(config, "hidden_dim");
  layer.mlp.up = "ffn.lin1";
  layer.mlp.down = "ffn.lin2";
  layer.mlp_norms.over = "output_layer_norm";
  repeat(b, layers_word(config, "n_layers"), "transformer.layer.{}.", layer);
  using From = HeadBlueprint::From;
  b.heads_on_top = {{.architecture = "ForMaskedLM",
                     .dense = "vocab_transform",
                     .activation = layer.mlp.activation,
                     .norm = "vocab_layer_norm",
                     .out = "vocab_projector",
                     .tied = true},
                    {.architecture = "ForSequenceClassification",
                     .from = From::kFirstToken,
                     .dense = "pre_classifier",
                     .activation = kernels::Activation::kRelu,
                     .out = "classifier"},
                    {.architecture = "ForTokenClassification", .out = "classifier"},
                    {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
  return b;
}

}  // namespace headscope::models
