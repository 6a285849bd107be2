// T5 (Raffel 2020), its 1.1 with gated MLPs (Shazeer 2020), Flan, mT5 and umT5: two stacks of RMS norms and
// unscaled scores that know positions by a learned bias of their distance.
#include <cmath>

#include "models/families.h"

namespace headscope::models {

namespace {

void read_mlp(const json::Value& config, MlpFacts& mlp) {
  std::string form = word_or(config, "feed_forward_proj", "relu");
  const std::string gated = "gated-";
  if (form.starts_with(gated)) {
    form = form.substr(gated.size());
    if (form == "gelu") form = "gelu_new";  // as these checkpoints were trained
    mlp.form = MlpFacts::Form::kGated;
    mlp.gate = "DenseReluDense.wi_0";
    mlp.up = "DenseReluDense.wi_1";
  } else {
    mlp.up = "DenseReluDense.wi";
  }
  mlp.activation = activation_of(form);
  mlp.width = size_word(config, "d_ff");
  mlp.down = "DenseReluDense.wo";
}

Blueprint t5_stack(const json::Value& config, const std::string& family, const std::string& stack) {
  const bool decodes = stack == "decoder";
  Blueprint b;
  b.family = family;
  b.width = size_word(config, "d_model");
  b.vocabulary = size_word(config, "vocab_size");
  b.pad_token = json::get_or<std::int64_t>(config, "pad_token_id", 0, "config.json");
  b.positions = 1 << 15;  // distances know no limit
  b.norm.kind = HeadNorm::Kind::kRms;
  b.norm.eps = static_cast<float>(number_or(config, "layer_norm_epsilon", 1e-6));
  b.word_embeddings = stack + ".embed_tokens";
  b.final_norm = stack + ".final_layer_norm";
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = a.groups = size_word(config, "num_heads");
  a.width = a.value_width = size_word(config, "d_kv");
  a.scale = 1.0F;
  a.causal = decodes;
  a.query = "layer.0.SelfAttention.q";
  a.key = "layer.0.SelfAttention.k";
  a.value = "layer.0.SelfAttention.v";
  a.output = "layer.0.SelfAttention.o";
  layer.attention_norms.before = "layer.0.layer_norm";
  const std::string last = decodes ? "layer.2." : "layer.1.";
  if (decodes) {
    AttentionFacts cross = a;
    cross.causal = false;
    cross.query = "layer.1.EncDecAttention.q";
    cross.key = "layer.1.EncDecAttention.k";
    cross.value = "layer.1.EncDecAttention.v";
    cross.output = "layer.1.EncDecAttention.o";
    layer.cross = cross;
    layer.cross_norms.before = "layer.1.layer_norm";
  }
  a.relative.buckets = size_word_or(config, "relative_attention_num_buckets", 32);
  a.relative.furthest = size_word_or(config, "relative_attention_max_distance", 128);
  a.relative.both_ways = !decodes;
  read_mlp(config, layer.mlp);
  for (std::string* name : {&layer.mlp.gate, &layer.mlp.up, &layer.mlp.down}) {
    if (!name->empty()) *name = last + *name;
  }
  layer.mlp_norms.before = last + "layer_norm";
  const std::int64_t L = layers_word(config, "num_layers");
  const bool own =
      decodes && config.contains("num_decoder_layers") && !config["num_decoder_layers"].is_null();
  repeat(b, own ? layers_word(config, "num_decoder_layers") : L, stack + ".block.{}.", layer);
  for (LayerFacts& l : b.layers) {
    const std::string& owner = family == "umt5" ? l.prefix : b.layers.front().prefix;
    l.attention.relative.table = owner + "layer.0.SelfAttention.relative_attention_bias";
  }
  return b;
}

PairBlueprint t5_of(const json::Value& config, const std::string& family, bool tied) {
  PairBlueprint p{t5_stack(config, family, "encoder"),
                  t5_stack(config, family, "decoder"),
                  {"shared", "encoder.embed_tokens", "decoder.embed_tokens"},
                  {},
                  json::get_or<std::int64_t>(config, "decoder_start_token_id", 0, "config.json")};
  // Transformers 5 always says that words are tied and keeps the old meaning of it under another name.
  const bool scaled =
      flag_or(config, "scale_decoder_outputs", flag_or(config, "tie_word_embeddings", tied));
  if (scaled) p.decoder.logit_scale = 1.0F / std::sqrt(static_cast<float>(p.decoder.width));
  HeadBlueprint words{.architecture = "ForConditionalGeneration", .out = "lm_head", .tied = true};
  HeadBlueprint old = words;
  old.architecture = "WithLMHeadModel";
  p.decoder.heads_on_top = {words, old};
  p.encoder.heads_on_top = {{.architecture = "ForTokenClassification", .out = "classifier"}};
  // Of classes that tell sequences or words apart; of the former the network without its head.
  p.encoder.prefixes = p.decoder.prefixes = {"transformer."};
  p.decoder.causal_head = true;
  return p;
}

}  // namespace

PairBlueprint t5(const json::Value& config) { return t5_of(config, "t5", true); }
PairBlueprint mt5(const json::Value& config) { return t5_of(config, "mt5", false); }
PairBlueprint umt5(const json::Value& config) { return t5_of(config, "umt5", false); }

}  // namespace headscope::models
