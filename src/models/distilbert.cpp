// DistilBERT: Sanh 2019. BERT without token types and pooler, in words of its own.
#include "models/blueprint.h"

namespace headscope::models {

Blueprint distilbert(const json::Value& config) {
  const std::string where = "config.json";
  Blueprint b;
  b.family = "distilbert";
  b.prefixes = {"distilbert."};
  b.layers = json::require<std::int64_t>(config, "n_layers", where);
  b.heads = json::require<std::int64_t>(config, "n_heads", where);
  b.width = json::require<std::int64_t>(config, "dim", where);
  b.mlp_width = json::require<std::int64_t>(config, "hidden_dim", where);
  b.vocabulary = json::require<std::int64_t>(config, "vocab_size", where);
  b.position_rows = json::get_or<std::int64_t>(config, "max_position_embeddings", 512, where);
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 0, where);
  b.activation = activation_of(json::get_or<std::string>(config, "activation", "gelu", where));

  b.word_embeddings = "embeddings.word_embeddings";
  b.position_embeddings = "embeddings.position_embeddings";
  b.embedding_norm = "embeddings.LayerNorm";
  b.layer = {.prefix = "transformer.layer.{}.",
             .query = "attention.q_lin",
             .key = "attention.k_lin",
             .value = "attention.v_lin",
             .output = "attention.out_lin",
             .attention_norm = "sa_layer_norm",
             .up = "ffn.lin1",
             .down = "ffn.lin2",
             .mlp_norm = "output_layer_norm"};
  using From = HeadBlueprint::From;
  b.heads_on_top = {{.architecture = "ForMaskedLM",
                     .dense = "vocab_transform",
                     .activation = b.activation,
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
