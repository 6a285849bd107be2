// Llama's shape with other norms and MLPs: StableLM 2 (Bellagente 2024), StarCoder 2 (Lozhkov 2024),
// Nemotron (Parmar 2024).
#include "models/families.h"

namespace headscope::models {

namespace {

// down(act(up(x))) under these names.
void plain_mlp(Blueprint& b, const std::string& up, const std::string& down) {
  for (LayerFacts& layer : b.layers) {
    layer.mlp.form = MlpFacts::Form::kPlain;
    layer.mlp.up = up;
    layer.mlp.down = down;
  }
}

}  // namespace

Blueprint stablelm(const json::Value& config) {
  Blueprint b = llama_like(config, {.partial = 0.25});
  b.family = "stablelm";
  b.norm = {.eps = static_cast<float>(number_or(config, "layer_norm_eps", 1e-5))};
  b.parallel = flag_or(config, "use_parallel_residual", false);
  for (LayerFacts& layer : b.layers) {
    if (b.parallel) layer.mlp_norms.before = "";
    if (!flag_or(config, "qk_layernorm", false)) continue;
    layer.attention.qk_norm = HeadNorm::Kind::kLayer;
    layer.attention.qk_norm_eps = b.norm.eps;
    layer.attention.query_norm = "self_attn.q_layernorm.norms.{}";
    layer.attention.key_norm = "self_attn.k_layernorm.norms.{}";
  }
  return b;
}

Blueprint starcoder2(const json::Value& config) {
  Blueprint b = llama_like(config);
  b.family = "starcoder2";
  b.norm = {.eps = static_cast<float>(number_or(config, "norm_epsilon", 1e-5))};
  plain_mlp(b, "mlp.c_fc", "mlp.c_proj");
  for (LayerFacts& layer : b.layers)
    layer.mlp.activation = activation_of(word_or(config, "hidden_act", "gelu_pytorch_tanh"));
  set_windows(b, std::vector<bool>(b.layers.size(), true), window_word(config));
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", true)};
  return b;
}

Blueprint nemotron(const json::Value& config) {
  Blueprint b = llama_like(config, {.partial = 0.5});
  b.family = "nemotron";
  b.norm = {.eps = static_cast<float>(number_or(config, "norm_eps", 1e-5)), .plus_one = true};
  plain_mlp(b, "mlp.up_proj", "mlp.down_proj");
  for (LayerFacts& layer : b.layers)
    layer.mlp.activation = activation_of(word_or(config, "hidden_act", "relu2"));
  return b;
}

}  // namespace headscope::models
