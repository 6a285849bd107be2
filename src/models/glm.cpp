// GLM 4: Team GLM 2024, and the GLM-4-0414 models with norms behind attention and MLP, too.
#include "models/families.h"

namespace headscope::models {

Blueprint glm(const json::Value& config) {
  Blueprint b = llama_like(config, {.style = Rotary::Style::kGptj, .partial = 0.5});
  b.family = "glm";
  b.norm.eps = static_cast<float>(number_or(config, "rms_norm_eps", 1.5625e-07));
  for (LayerFacts& layer : b.layers) layer.mlp.gate_up = "mlp.gate_up_proj";
  return b;
}

Blueprint glm4(const json::Value& config) {
  Blueprint b = glm(config);
  b.family = "glm4";
  for (LayerFacts& layer : b.layers) {
    layer.attention_norms.after = "post_self_attn_layernorm";
    layer.mlp_norms.after = "post_mlp_layernorm";
  }
  return b;
}

}  // namespace headscope::models
