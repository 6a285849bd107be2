// Qwen 2, Qwen 3 and their mixtures of experts: Yang 2024, 2025.
#include <algorithm>

#include "models/families.h"

namespace headscope::models {

namespace {

// Windows only where use_sliding_window is on: from max_window_layers on, or as layer_types say.
void qwen_windows(const json::Value& config, Blueprint& b) {
  if (!flag_or(config, "use_sliding_window", false)) return;
  const auto from = json::get_or<std::int64_t>(config, "max_window_layers", 28, "config.json");
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n)
    sliding[n] = static_cast<std::int64_t>(n) >= from;
  set_windows(b, layer_types_or(config, sliding), window_word(config, 4096));
}

void qwen_experts(const json::Value& config, Blueprint& b, ExpertFacts experts) {
  experts.count = json::find(config, "num_experts", "config.json") != nullptr
                      ? size_word(config, "num_experts")
                      : size_word(config, "num_local_experts");
  experts.chosen = size_word(config, "num_experts_per_tok");
  experts.width = size_word(config, "moe_intermediate_size");
  experts.renormalise = flag_or(config, "norm_topk_prob", false);
  experts.router = "mlp.gate";
  experts.prefix = "mlp.experts.{}.";
  const std::int64_t step = size_word_or(config, "decoder_sparse_step", 1);
  std::vector<std::int64_t> dense;
  if (json::find(config, "mlp_only_layers", "config.json") != nullptr)
    dense = json::require<std::vector<std::int64_t>>(config, "mlp_only_layers", "config.json");
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    const auto number = static_cast<std::int64_t>(n);
    if ((number + 1) % step != 0 || std::count(dense.begin(), dense.end(), number) > 0) continue;
    MlpFacts& mlp = b.layers[n].mlp;
    // Names of a dense MLP without their "mlp.", which is in the experts' prefix.
    mlp.gate = "gate_proj";
    mlp.up = "up_proj";
    mlp.down = "down_proj";
    mlp.experts = experts;
  }
}

void qk_norms(Blueprint& b) {
  for (LayerFacts& layer : b.layers) {
    layer.attention.qk_norm = HeadNorm::Kind::kRms;
    layer.attention.query_norm = "self_attn.q_norm";
    layer.attention.key_norm = "self_attn.k_norm";
  }
}

}  // namespace

Blueprint qwen2(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "qwen2";
  qwen_windows(config, b);
  return b;
}

Blueprint qwen3(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "qwen3";
  qk_norms(b);
  qwen_windows(config, b);
  return b;
}

Blueprint qwen2_moe(const json::Value& config) {
  Blueprint b = qwen2(config);
  b.family = "qwen2_moe";
  qwen_experts(config,
               b,
               {.shared = "mlp.shared_expert.",
                .shared_width = size_word(config, "shared_expert_intermediate_size"),
                .shared_gate = "mlp.shared_expert_gate"});
  return b;
}

Blueprint qwen3_moe(const json::Value& config) {
  Blueprint b = qwen3(config);
  b.family = "qwen3_moe";
  qwen_experts(config, b, {});
  return b;
}

}  // namespace headscope::models
