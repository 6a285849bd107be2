// Phi 1 to 2 (Gunasekar 2023) and Phi 3 to 4 (Abdin 2024).
#include "models/families.h"

namespace headscope::models {

Blueprint phi(const json::Value& config) {
  Blueprint b = llama_like(config, {.partial = 0.5});
  b.family = "phi";
  b.norm = {.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-5))};
  b.parallel = true;
  b.final_norm = "final_layernorm";
  for (LayerFacts& layer : b.layers) {
    layer.attention.output = "self_attn.dense";
    if (flag_or(config, "qk_layernorm", false)) {
      layer.attention.qk_norm = HeadNorm::Kind::kLayer;
      layer.attention.qk_norm_eps = b.norm.eps;
      layer.attention.query_norm = "self_attn.q_layernorm";
      layer.attention.key_norm = "self_attn.k_layernorm";
    }
    layer.mlp_norms.before = "";
    layer.mlp.form = MlpFacts::Form::kPlain;
    layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu_new"));
    layer.mlp.up = "mlp.fc1";
    layer.mlp.down = "mlp.fc2";
  }
  return b;
}

Blueprint phi3(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "phi3";
  b.norm.eps = static_cast<float>(number_or(config, "rms_norm_eps", 1e-5));
  for (LayerFacts& layer : b.layers) {
    layer.attention.layout = QkvLayout::kConcatenated;
    layer.attention.fused = "self_attn.qkv_proj";
    layer.mlp.gate_up = "mlp.gate_up_proj";
  }
  set_windows(b, std::vector<bool>(b.layers.size(), true), window_word(config));
  return b;
}

}  // namespace headscope::models
