// Command R and R7B: Cohere 2024, 2025. Attention and MLP side by side behind one norm without bias.
#include "models/families.h"

namespace headscope::models {

Blueprint cohere(const json::Value& config) {
  Blueprint b = llama_like(config, {.style = Rotary::Style::kGptj});
  b.family = "cohere";
  b.norm = {.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-5))};
  b.parallel = true;
  b.logit_scale = static_cast<float>(number_or(config, "logit_scale", 0.0625));
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  for (LayerFacts& layer : b.layers) {
    layer.mlp_norms.before = "";
    if (!flag_or(config, "use_qk_norm", false)) continue;
    layer.attention.qk_norm = HeadNorm::Kind::kLayer;
    layer.attention.qk_norm_eps = b.norm.eps;
    layer.attention.query_norm = "self_attn.q_norm";
    layer.attention.key_norm = "self_attn.k_norm";
  }
  return b;
}

Blueprint cohere2(const json::Value& config) {
  Blueprint b = cohere(config);
  b.family = "cohere2";
  const auto pattern = static_cast<std::size_t>(size_word_or(config, "sliding_window_pattern", 4));
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = (n + 1) % pattern != 0;
  sliding = layer_types_or(config, sliding);
  set_windows(b, sliding, window_word(config, 4096));
  for (std::size_t n = 0; n < sliding.size(); ++n) {
    if (!sliding[n]) b.layers[n].attention.rope = Rope{};
  }
  return b;
}

}  // namespace headscope::models
