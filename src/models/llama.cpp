// Llama and what differs from it in a word or two: Touvron 2023; Mistral: Jiang 2023; Mixtral: Jiang 2024;
// Granite: IBM 2024; SmolLM3: Hugging Face 2025.
#include "models/families.h"

namespace headscope::models {

Blueprint llama(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "llama";
  return b;
}

Blueprint mistral(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "mistral";
  set_windows(b, std::vector<bool>(b.layers.size(), true), window_word(config, 4096));
  return b;
}

Blueprint mixtral(const json::Value& config) {
  Blueprint b = llama_like(config, {.base = 1e6});
  b.family = "mixtral";
  set_windows(b, std::vector<bool>(b.layers.size(), true), window_word(config));
  for (LayerFacts& layer : b.layers) {
    layer.mlp.gate = "w1";
    layer.mlp.up = "w3";
    layer.mlp.down = "w2";
    layer.mlp.experts = ExpertFacts{.count = size_word_or(config, "num_local_experts", 8),
                                    .chosen = size_word_or(config, "num_experts_per_tok", 2),
                                    .width = layer.mlp.width,
                                    .renormalise = true,
                                    .router = "block_sparse_moe.gate",
                                    .prefix = "block_sparse_moe.experts.{}."};
  }
  return b;
}

Blueprint granite(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "granite";
  b.embedding_scale = static_cast<float>(number_or(config, "embedding_multiplier", 1.0));
  b.residual_scale = static_cast<float>(number_or(config, "residual_multiplier", 1.0));
  b.logit_scale = static_cast<float>(1.0 / number_or(config, "logits_scaling", 1.0));
  for (LayerFacts& layer : b.layers)
    layer.attention.scale = static_cast<float>(number_or(config, "attention_multiplier", 1.0));
  return b;
}

Blueprint smollm3(const json::Value& config) {
  Blueprint b = llama_like(config, {.base = 2e6});
  b.family = "smollm3";
  const std::size_t L = b.layers.size();
  std::vector<std::int64_t> turned;
  if (json::find(config, "no_rope_layers", "config.json") != nullptr)
    turned = json::require<std::vector<std::int64_t>>(config, "no_rope_layers", "config.json");
  const std::int64_t interval = size_word_or(config, "no_rope_layer_interval", 4);
  const bool windows = flag_or(config, "use_sliding_window", false);
  std::vector<bool> sliding(L);
  for (std::size_t n = 0; n < L; ++n) {
    const bool turns =
        n < turned.size() ? turned[n] != 0 : (static_cast<std::int64_t>(n) + 1) % interval != 0;
    if (!turns) b.layers[n].attention.rope = Rope{};
    sliding[n] = windows && turns;
  }
  if (windows) set_windows(b, layer_types_or(config, sliding), window_word(config));
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  return b;
}

}  // namespace headscope::models
