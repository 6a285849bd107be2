// gpt-oss: OpenAI 2025. Sinks, windows on every other layer, experts with a clamped gate.
#include "models/families.h"

namespace headscope::models {

Blueprint gpt_oss(const json::Value& config) {
  Blueprint b = llama_like(config, {.base = 150000.0});
  b.family = "gpt_oss";
  b.norm.eps = static_cast<float>(number_or(config, "rms_norm_eps", 1e-5));
  std::vector<bool> sliding(b.layers.size());
  for (std::size_t n = 0; n < sliding.size(); ++n) sliding[n] = n % 2 == 0;
  set_windows(b, layer_types_or(config, sliding), window_word(config, 128));
  const bool old = json::find(config, "num_local_experts", "config.json") == nullptr;
  for (LayerFacts& layer : b.layers) {
    layer.attention.sinks = "self_attn.sinks";
    layer.mlp.form = MlpFacts::Form::kClamped;
    layer.mlp.alpha = static_cast<float>(number_or(config, "swiglu_alpha", 1.702));
    layer.mlp.limit = static_cast<float>(number_or(config, "swiglu_limit", 7.0));
    layer.mlp.gate_up = "mlp.experts.gate_up_proj";
    layer.mlp.down = "mlp.experts.down_proj";
    layer.mlp.experts =
        ExpertFacts{.count = size_word(config, old ? "num_experts" : "num_local_experts"),
                    .chosen = size_word_or(config, "num_experts_per_tok", 4),
                    .width = layer.mlp.width,
                    .scores = ExpertFacts::Scores::kChosen,
                    .router = "mlp.router"};
  }
  return b;
}

}  // namespace headscope::models
