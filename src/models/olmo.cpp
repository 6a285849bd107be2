// OLMo 1 to 3: Groeneveld 2024; OLMo Team 2025, 2025.
#include "models/families.h"

namespace headscope::models {

Blueprint olmo(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "olmo";
  b.norm = {.eps = 1e-5F, .bare = true};
  for (LayerFacts& layer : b.layers)
    layer.attention.clip = static_cast<float>(number_or(config, "clip_qkv", 0.0));
  return b;
}

namespace {

Blueprint olmo2_like(const json::Value& config, const RopeDefaults& rope) {
  Blueprint b = llama_like(config, rope);
  b.norm.eps = static_cast<float>(number_or(config, "rms_norm_eps", 1e-5));
  for (LayerFacts& layer : b.layers) {
    layer.attention_norms = {.before = {}, .after = "post_attention_layernorm", .over = {}};
    layer.mlp_norms = {.before = {}, .after = "post_feedforward_layernorm", .over = {}};
    AttentionFacts& a = layer.attention;
    a.qk_norm = HeadNorm::Kind::kRms;
    a.qk_norm_over = HeadNorm::Over::kAllHeads;
    a.qk_norm_eps = b.norm.eps;
    a.query_norm = "self_attn.q_norm";
    a.key_norm = "self_attn.k_norm";
  }
  return b;
}

}  // namespace

Blueprint olmo2(const json::Value& config) {
  Blueprint b = olmo2_like(config, {});
  b.family = "olmo2";
  return b;
}

Blueprint olmo3(const json::Value& config) {
  Blueprint b = olmo2_like(config, {.base = 500000.0, .layer_type = "full_attention"});
  b.family = "olmo3";
  // Old files speak of the full layers alone: no word of theirs is the base of the others.
  const Rope local = read_rope(
      config,
      b.layers.front().attention.width,
      {.base = 500000.0, .layer_type = "sliding_attention", .base_word = "", .scaled = false});
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = (n + 1) % 4 != 0;
  sliding = layer_types_or(config, sliding);
  set_windows(b, sliding, window_word(config, 4096));
  for (std::size_t n = 0; n < sliding.size(); ++n) {
    if (sliding[n]) b.layers[n].attention.rope = local;
  }
  return b;
}

}  // namespace headscope::models
