// ALBERT: Lan 2019. BERT whose layers share weights, with embeddings narrower than the model.
#include "models/families.h"

namespace headscope::models {

Blueprint albert(const json::Value& config) {
  Blueprint b = bert(config);
  b.family = "albert";
  b.prefixes = {"albert."};
  const std::int64_t groups = size_word_or(config, "num_hidden_groups", 1);
  if (const std::int64_t inner = size_word_or(config, "inner_group_num", 1); inner != 1) {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected inner_group_num 1, found " + std::to_string(inner));
  }
  b.embedding_width = size_word_or(config, "embedding_size", 128);
  b.embedding_projection = "encoder.embedding_hidden_mapping_in";
  b.pooler = "pooler";
  const auto L = static_cast<std::int64_t>(b.layers.size());
  for (std::int64_t n = 0; n < L; ++n) {
    LayerFacts& layer = b.layers[static_cast<std::size_t>(n)];
    // The layers are cut into `groups` equal parts; each part has one layer's weights.
    layer.prefix =
        "encoder.albert_layer_groups." + std::to_string(n * groups / L) + ".albert_layers.0.";
    layer.attention.query = "attention.query";
    layer.attention.key = "attention.key";
    layer.attention.value = "attention.value";
    layer.attention.output = "attention.dense";
    layer.attention_norms.over = "attention.LayerNorm";
    layer.mlp.up = "ffn";
    layer.mlp.down = "ffn_output";
    layer.mlp_norms.over = "full_layer_layer_norm";
  }
  using From = HeadBlueprint::From;
  b.heads_on_top = {
      {.architecture = "ForMaskedLM",
       .dense = "predictions.dense",
       .dense_width = b.embedding_width,
       .activation = b.layers.front().mlp.activation,
       .norm = "predictions.LayerNorm",
       .out = "predictions.decoder",
       .out_bias = "predictions.bias",
       .tied = true},
      {.architecture = "ForSequenceClassification", .from = From::kPooler, .out = "classifier"},
      {.architecture = "ForTokenClassification", .out = "classifier"},
      {.architecture = "ForQuestionAnswering", .out = "qa_outputs"}};
  return b;
}

}  // namespace headscope::models
