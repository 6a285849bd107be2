// BEiT: Bao 2021. Biases by distance instead of (or beside) positions, what joins is scaled.
#include "models/vision_words.h"

namespace headscope::models {

VisionBlueprint beit(const json::Value& config, const std::string& architecture) {
  VisionBlueprint b = vit_like(config, "beit", 1e-12);
  const std::string kind = class_ending(architecture, {"Model", "ForImageClassification"});
  if (!flag_or(config, "use_absolute_position_embeddings", false)) b.positions.clear();
  b.square_table = true;
  const std::string table = "relative_position_bias.relative_position_bias_table";
  if (flag_or(config, "use_shared_relative_position_bias", false)) b.shared_bias = "encoder." + table;
  for (BlockFacts& block : b.blocks) {
    if (flag_or(config, "use_relative_position_bias", false)) block.bias = "attention.attention." + table;
    if (number_or(config, "layer_scale_init_value", 0.1) > 0.0) {
      block.attention_scale = "lambda_1";
      block.mlp_scale = "lambda_2";
    }
  }
  b.top.pooled = VisionTop::From::kFirst;
  if (flag_or(config, "use_mean_pooling", true)) {
    b.body.final_norm.clear();
    b.top.pooled = VisionTop::From::kPatches;
    b.top.pooled_norm = "pooler.layernorm";
    b.top.pooled_eps = b.body.norm.eps;
  }
  if (kind == "ForImageClassification") classify(b, VisionTop::From::kPooled);
  return b;
}

}  // namespace headscope::models
