// DeepSeek V2 and V3: DeepSeek-AI 2024, 2024. Latent attention, many small experts beside shared ones.
#include <cmath>

#include "models/families.h"

namespace headscope::models {

namespace {

void latent_attention(const json::Value& config, LayerFacts& layer) {
  AttentionFacts& a = layer.attention;
  LatentFacts latent;
  const std::int64_t own = size_word_or(config, "qk_nope_head_dim", 128);
  latent.turned = size_word_or(config, "qk_rope_head_dim", 64);
  latent.rank = size_word_or(config, "kv_lora_rank", 512);
  if (json::find(config, "q_lora_rank", "config.json") != nullptr)
    latent.query_rank = size_word(config, "q_lora_rank");
  latent.query_down = "self_attn.q_a_proj";
  latent.query_norm = "self_attn.q_a_layernorm";
  latent.query_up = "self_attn.q_b_proj";
  latent.down = "self_attn.kv_a_proj_with_mqa";
  latent.norm = "self_attn.kv_a_layernorm";
  latent.up = "self_attn.kv_b_proj";
  a.groups = a.heads;
  a.width = own + latent.turned;
  a.value_width = size_word_or(config, "v_head_dim", 128);
  a.scale = static_cast<float>(yarn_score_factor(config) / std::sqrt(static_cast<double>(a.width)));
  a.latent = latent;
}

Blueprint deepseek(const json::Value& config, ExpertFacts experts) {
  json::Value words = config;
  words["head_dim"] = size_word_or(config, "qk_rope_head_dim", 64);  // of the part that turns
  Blueprint b = llama_like(words, {.style = Rotary::Style::kGptj});
  experts.count = size_word(config, "n_routed_experts");
  experts.chosen = size_word(config, "num_experts_per_tok");
  experts.width = size_word(config, "moe_intermediate_size");
  experts.groups = size_word_or(config, "n_group", 1);
  experts.chosen_groups = size_word_or(config, "topk_group", 1);
  experts.scale = static_cast<float>(number_or(config, "routed_scaling_factor", 1.0));
  experts.router = "mlp.gate";
  experts.prefix = "mlp.experts.{}.";
  const auto shared = json::get_or<std::int64_t>(config, "n_shared_experts", 0, "config.json");
  if (shared > 0 && shared <= 4096) {
    experts.shared = "mlp.shared_experts.";
    experts.shared_width = shared * experts.width;
  }
  const auto dense = json::get_or<std::int64_t>(config, "first_k_dense_replace", 0, "config.json");
  const std::int64_t step = size_word_or(config, "moe_layer_freq", 1);
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    latent_attention(config, b.layers[n]);
    const auto number = static_cast<std::int64_t>(n);
    if (number < dense || number % step != 0) continue;
    MlpFacts& mlp = b.layers[n].mlp;
    mlp.gate = "gate_proj";
    mlp.up = "up_proj";
    mlp.down = "down_proj";
    mlp.experts = experts;
  }
  return b;
}

}  // namespace

Blueprint deepseek_v2(const json::Value& config) {
  const std::string method = word_or(config, "topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy") {
    throw Error(ErrorCode::kUnsupported,
                "[config.json] expected topk_method greedy or group_limited_greedy, found " +
                    json::quote(method));
  }
  Blueprint b = deepseek(config, {});
  b.family = "deepseek_v2";
  for (LayerFacts& layer : b.layers) {
    if (layer.mlp.experts && method == "greedy")
      layer.mlp.experts->chosen_groups = layer.mlp.experts->groups = 1;
  }
  return b;
}

Blueprint deepseek_v3(const json::Value& config) {
  ExpertFacts experts;
  experts.scores = ExpertFacts::Scores::kSigmoid;
  experts.renormalise = flag_or(config, "norm_topk_prob", true);
  experts.group_best = 2;
  experts.correction = "mlp.gate.e_score_correction_bias";
  Blueprint b = deepseek(config, experts);
  b.family = "deepseek_v3";
  return b;
}

}  // namespace headscope::models
