// ModernBERT: Warner 2024. Pre-norm encoder with rotary positions; most layers see a window around each token.
#include "models/families.h"

namespace headscope::models {

Blueprint modernbert(const json::Value& config) {
  Blueprint b;
  b.family = "modernbert";
  b.prefixes = {"model."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_position_embeddings", 8192);
  b.norm.eps = static_cast<float>(number_or(config, "norm_eps", 1e-5));
  b.word_embeddings = "embeddings.tok_embeddings";
  b.embedding_norm = "embeddings.norm";
  b.final_norm = "final_norm";
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "num_attention_heads");
  a.width = a.value_width = head_width(b, a.heads);
  a.causal = false;
  a.layout = QkvLayout::kConcatenated;
  a.fused = "attn.Wqkv";
  a.output = "attn.Wo";
  layer.attention_norms.before = "attn_norm";
  layer.mlp_norms.before = "mlp_norm";
  layer.mlp.form = MlpFacts::Form::kGated;
  layer.mlp.activation = activation_of(word_or(config, "hidden_activation", "gelu"));
  layer.mlp.width = size_word(config, "intermediate_size");
  layer.mlp.gate_up = "mlp.Wi";
  layer.mlp.down = "mlp.Wo";
  const Rope whole = read_rope(
      config,
      a.width,
      {.base = 160000.0, .layer_type = "full_attention", .base_word = "global_rope_theta"});
  const Rope local = read_rope(
      config, a.width, {.layer_type = "sliding_attention", .base_word = "local_rope_theta"});
  repeat(b, layers_word(config), "layers.{}.", layer);
  b.layers.front().attention_norms.before = "";  // the embeddings' norm serves
  const auto every =
      static_cast<std::size_t>(size_word_or(config, "global_attn_every_n_layers", 3));
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = n % every != 0;
  sliding = layer_types_or(config, sliding);
  const std::int64_t window = size_word_or(config, "local_attention", 128) / 2;
  for (std::size_t n = 0; n < sliding.size(); ++n) {
    AttentionFacts& own = b.layers[n].attention;
    own.rope = sliding[n] ? local : whole;
    if (sliding[n]) own.window_left = own.window_right = window;
  }
  using From = HeadBlueprint::From;
  HeadBlueprint words{.architecture = "ForMaskedLM",
                      .dense = "head.dense",
                      .activation = activation_of(word_or(config, "classifier_activation", "gelu")),
                      .norm = "head.norm",
                      .out = "decoder",
                      .out_bias = flag_or(config, "decoder_bias", true) ? "decoder.bias" : "",
                      .tied = true};
  HeadBlueprint classes = words;
  classes.architecture = "ForTokenClassification";
  classes.out = "classifier";
  classes.out_bias = "classifier.bias";
  classes.tied = false;
  HeadBlueprint spans = classes;
  spans.architecture = "ForQuestionAnswering";
  HeadBlueprint sequences = classes;
  sequences.architecture = "ForSequenceClassification";
  const std::string pooling = word_or(config, "classifier_pooling", "cls");
  if (pooling != "cls" && pooling != "mean") {
    throw Error(
        ErrorCode::kUnsupported,
        "[config.json] expected classifier_pooling cls or mean, found " + json::quote(pooling));
  }
  sequences.from = pooling == "mean" ? From::kMean : From::kFirstToken;
  b.heads_on_top = {words, classes, spans, sequences};
  return b;
}

}  // namespace headscope::models
