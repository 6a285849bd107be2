// DINOv2: Oquab 2023. With registers: Darcet 2023.
#include <algorithm>

#include "models/vision_words.h"

namespace headscope::models {

VisionBlueprint dinov2(const json::Value& config, const std::string& architecture) {
  const std::string type = word_or(config, "model_type", "dinov2");
  const bool registers = type == "dinov2_with_registers";
  VisionBlueprint b = vit_like(config, type, 1e-6);
  const std::string kind = class_ending(architecture, {"Model", "ForImageClassification"});
  if (!registers && json::find(config, "patch_size", "config.json") == nullptr)
    b.patches.patch_height = b.patches.patch_width = std::min<std::int64_t>(14, b.patches.height);
  if (registers) {
    const std::int64_t count = size_word_or(config, "num_register_tokens", 4);
    b.in_front.push_back({"embeddings.register_tokens", "register {}", count, false});
    b.fit = Fit::kBicubicSmooth;
  }
  b.square_table = true;
  const double ratio = number_or(config, "mlp_ratio", 4.0);
  const auto hidden = static_cast<std::int64_t>(static_cast<double>(b.body.width) * ratio);
  const bool gated = flag_or(config, "use_swiglu_ffn", false);
  for (std::size_t n = 0; n < b.blocks.size(); ++n) {
    LayerFacts& layer = b.body.layers[n];
    layer.attention_norms.before = "norm1";
    layer.mlp_norms.before = "norm2";
    layer.mlp.up = "mlp.fc1";
    layer.mlp.down = "mlp.fc2";
    layer.mlp.width = hidden;
    if (gated) {
      layer.mlp.form = MlpFacts::Form::kGated;
      layer.mlp.activation = kernels::Activation::kSilu;
      layer.mlp.gate_up = "mlp.weights_in";
      layer.mlp.down = "mlp.weights_out";
      layer.mlp.width = (hidden * 2 / 3 + 7) / 8 * 8;
    }
    b.blocks[n].attention_scale = "layer_scale1.lambda1";
    b.blocks[n].mlp_scale = "layer_scale2.lambda1";
  }
  b.top.pooled = VisionTop::From::kFirst;
  if (kind == "ForImageClassification") classify(b, VisionTop::From::kFirstAndPatches);
  return b;
}

}  // namespace headscope::models
